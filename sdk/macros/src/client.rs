//! The typed client beside an object or service.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;

use crate::handlers::Handler;
use crate::signature::Returns;

pub(crate) fn expand(entity: &Ident, handlers: &[Handler]) -> TokenStream {
    let support = quote!(::abide::__private::macro_support);
    let client = format_ident!("{entity}Client", span = entity.span());
    let methods = handlers.iter().map(method);
    let docs = format!("Client of [`{entity}`]: a method per handler. Each gives a request, to be sent or awaited.");
    quote! {
        #[doc = #docs]
        #[allow(dead_code, unreachable_pub)]
        #[derive(Clone)]
        pub struct #client<C> {
            caller: C,
            key: ::core::option::Option<::std::string::String>,
        }

        #[allow(dead_code, unreachable_pub, private_interfaces, private_bounds, clippy::needless_pass_by_value)]
        impl<C: #support::Caller> #client<C> {
            #(#methods)*
        }

        impl #support::Callable for #entity {
            type Client<C: #support::Caller> = #client<C>;

            fn client<C: #support::Caller>(
                caller: C,
                key: ::core::option::Option<::std::string::String>,
            ) -> Self::Client<C> {
                #client { caller, key }
            }
        }
    }
}

fn method(handler: &Handler) -> TokenStream {
    let support = quote!(::abide::__private::macro_support);
    let Handler { ident, name, docs, entity, signature, options, .. } = handler;
    let (parameter, argument) = match &signature.argument {
        Some(argument) => {
            let (parameter, ty) = (&argument.name, &argument.ty);
            let encoded = quote_spanned!(ty.span()=> #support::reference::<#ty>(&#parameter));
            (quote!(, #parameter: #ty), quote!(::core::option::Option::Some(#encoded)))
        }
        None => (quote!(), quote!(::core::option::Option::None::<&()>)),
    };
    let (value, error) = match &signature.returns {
        Returns::Plain(None) => (quote!(()), quote!(#support::NoError)),
        Returns::Plain(Some(ty)) => (quote!(#ty), quote!(#support::NoError)),
        Returns::Fallible { parts: Some(parts), .. } => {
            let (value, error) = &**parts;
            (quote!(#value), quote!(#error))
        }
        Returns::Fallible { whole, parts: None } => {
            (quote!(<#whole as #support::Fallible>::Value), quote!(<#whole as #support::Fallible>::Error))
        }
    };
    let inside = options.private.then(|| quote!(where C: #support::InsideCaller));
    let docs = if docs.is_empty() { format!("Requests `{name}`.", name = name.value()) } else { docs.clone() };
    quote! {
        #[doc = #docs]
        pub fn #ident(&self #parameter) -> #support::Request<C, #value, #error> #inside {
            let caller = ::core::clone::Clone::clone(&self.caller);
            let key = ::core::clone::Clone::clone(&self.key);
            #support::Request::new(caller, <#entity as #support::Entity>::NAME, key, #name, #argument)
        }
    }
}
