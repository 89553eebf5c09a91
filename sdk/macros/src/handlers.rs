//! `#[handlers]`.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, ImplItem, ImplItemFn, ItemImpl, LitStr, PathArguments, Result, Type, parse_quote};

use crate::options::{Options, documentation};
use crate::signature::{self, Returns, Shape, Signature};
use crate::{awaits, client};

/// A method that is a handler.
pub(crate) struct Handler {
    pub(crate) entity: Ident,
    pub(crate) ident: Ident,
    pub(crate) name: LitStr,
    pub(crate) docs: String,
    pub(crate) options: Options,
    pub(crate) signature: Signature,
}

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !options.is_empty() {
        return Err(Error::new(options.span(), "`#[handlers]` has no options; handlers have: `#[handler(…)]`"));
    }
    let mut item: ItemImpl = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), "`#[handlers]` stands above an `impl Type { … }` block"))?;
    let entity = entity(&item)?;
    let mut handlers = Vec::new();
    let mut faults: Option<Error> = None;
    for method in item.items.iter_mut().filter_map(method) {
        match Handler::read(&entity, method) {
            Ok(handler) => handlers.extend(handler),
            Err(fault) => match &mut faults {
                Some(faults) => faults.combine(fault),
                None => faults = Some(fault),
            },
        }
    }
    if let Some(faults) = faults {
        return Err(faults);
    }
    check_names(&handlers)?;
    let implementation = implementation(&entity, &handlers);
    let client = client::expand(&entity, &handlers);
    Ok(quote!(#item #implementation #client))
}

fn method(item: &mut ImplItem) -> Option<&mut ImplItemFn> {
    match item {
        ImplItem::Fn(method) => Some(method),
        _ => None,
    }
}

/// The type that the block is for.
fn entity(item: &ItemImpl) -> Result<Ident> {
    if let Some((_, path, _)) = &item.trait_ {
        let message = "handlers are inherent methods: write `impl Type { … }` without a trait";
        return Err(Error::new(path.span(), message));
    }
    let Type::Path(path) = &*item.self_ty else {
        return Err(Error::new(
            item.self_ty.span(),
            "handlers are written for a struct with `#[object]` or `#[service]`",
        ));
    };
    let last = path.path.segments.last().filter(|last| matches!(last.arguments, PathArguments::None));
    match (path.path.get_ident(), last) {
        (Some(ident), Some(_)) if item.generics.params.is_empty() => Ok(ident.clone()),
        _ => Err(Error::new(path.span(), "name the struct alone, without path and generics: `impl Account { … }`")),
    }
}

fn check_names(handlers: &[Handler]) -> Result<()> {
    for (place, handler) in handlers.iter().enumerate() {
        if handlers[..place].iter().any(|other| other.name.value() == handler.name.value()) {
            let message = format!("there is another handler named `{}`", handler.name.value());
            return Err(Error::new(handler.name.span(), message));
        }
    }
    Ok(())
}

impl Handler {
    /// The handler that `method` is, if it is one; its body is rewritten where that is needed.
    fn read(entity: &Ident, method: &mut ImplItemFn) -> Result<Option<Self>> {
        let options = Options::take(&mut method.attrs)?;
        let Some(signature) = signature::read(method, options.is_some())? else { return Ok(None) };
        if signature.shape == Shape::ExclusiveFlow {
            awaits::rewrite(&mut method.block);
        }
        if signature.is_flow() {
            // A flow is `async` by definition, also when it does not wait.
            method.attrs.push(parse_quote!(#[allow(clippy::unused_async)]));
        }
        let options = options.unwrap_or_default();
        let ident = method.sig.ident.clone();
        let name = options.name.clone().unwrap_or_else(|| LitStr::new(&ident.to_string(), ident.span()));
        let docs = documentation(&method.attrs);
        Ok(Some(Self { entity: entity.clone(), ident, name, docs, options, signature }))
    }

    fn descriptor(&self) -> TokenStream {
        let support = quote!(::abide::__private::macro_support);
        let (access, form) = match self.signature.shape {
            Shape::ExclusiveTurn => (quote!(Exclusive), quote!(Turn)),
            Shape::SharedTurn | Shape::ServiceTurn => (quote!(Shared), quote!(Turn)),
            Shape::ExclusiveFlow => (quote!(Exclusive), quote!(Flow)),
            Shape::SharedFlow => (quote!(Shared), quote!(Flow)),
        };
        let (name, docs, public) = (&self.name, &self.docs, !self.options.private);
        let retry = match &self.options.retry {
            Some(policy) => quote!(::core::option::Option::Some(#policy)),
            None => quote!(::core::option::Option::None),
        };
        quote! {
            #support::HandlerDescriptor {
                name: #name.into(),
                access: #support::Access::#access,
                form: #support::Form::#form,
                options: #support::Options { retry: #retry, ..::core::default::Default::default() },
                public: #public,
                documentation: #support::documentation(#docs),
            }
        }
    }

    /// A bound that explains itself when the shape does not fit the type.
    fn requirement(&self) -> TokenStream {
        let entity = Ident::new(&self.entity.to_string(), self.signature.context);
        let span = self.signature.context;
        match self.signature.shape {
            Shape::ExclusiveTurn | Shape::SharedTurn | Shape::ExclusiveFlow => {
                quote_spanned!(span=> ::abide::__private::macro_support::requires_object::<#entity>();)
            }
            Shape::ServiceTurn => {
                quote_spanned!(span=> ::abide::__private::macro_support::requires_service::<#entity>();)
            }
            Shape::SharedFlow => quote!(),
        }
    }

    /// The arm of the dispatching `match`.
    fn arm(&self, index: usize) -> TokenStream {
        let support = quote!(::abide::__private::macro_support);
        let (ident, name) = (&self.ident, &self.name);
        let (read, pass) = match &self.signature.argument {
            Some(argument) => {
                let ty = &argument.ty;
                let read = quote_spanned!(ty.span()=> #support::argument::<#ty>(#name, &input)?);
                (quote!(let argument = #read;), quote!(, argument))
            }
            None => (quote!(#support::no_argument(#name, &input)?;), quote!()),
        };
        let wait = self.signature.is_flow().then(|| quote!(.await));
        let called = quote!(self.#ident(cx #pass)#wait);
        let answered = match &self.signature.returns {
            Returns::Plain(None) => quote!(#support::answer(#name, #called)),
            Returns::Plain(Some(ty)) => quote_spanned!(ty.span()=> #support::answer(#name, #called)),
            Returns::Fallible { parts: Some(parts), .. } => {
                let (value, error) = &**parts;
                let check = quote_spanned!(error.span()=> #support::failure_of::<#error>);
                quote_spanned!(value.span()=> #support::answer_result(#name, #called, #check))
            }
            Returns::Fallible { whole, parts: None } => {
                let check =
                    quote_spanned!(whole.span()=> #support::failure_of::<<#whole as #support::Fallible>::Error>);
                quote_spanned!(whole.span()=> #support::answer_result(#name, #called, #check))
            }
        };
        quote!(#index => { #read #answered })
    }
}

/// The implementation of `Handlers`.
fn implementation(entity: &Ident, handlers: &[Handler]) -> TokenStream {
    let support = quote!(::abide::__private::macro_support);
    let descriptors = handlers.iter().map(Handler::descriptor);
    let requirements = handlers.iter().map(Handler::requirement);
    let arms = |shapes: &[Shape]| -> Vec<TokenStream> {
        let numbered = handlers.iter().enumerate().filter(|(_, handler)| shapes.contains(&handler.signature.shape));
        numbered.map(|(index, handler)| handler.arm(index)).collect()
    };
    let turns = arms(&[Shape::ExclusiveTurn, Shape::ServiceTurn]);
    let reads = arms(&[Shape::SharedTurn]);
    let flows = arms(&[Shape::ExclusiveFlow, Shape::SharedFlow]);
    let turn = (!turns.is_empty()).then(|| {
        quote! {
            fn turn(&mut self, handler: usize, cx: &mut #support::Turn, input: #support::Bytes) -> #support::HandlerResult {
                match handler { #(#turns)* _ => #support::misdirected::<Self>(handler) }
            }
        }
    });
    let read = (!reads.is_empty()).then(|| {
        quote! {
            fn read(&self, handler: usize, cx: &#support::Read, input: #support::Bytes) -> #support::HandlerResult {
                match handler { #(#reads)* _ => #support::misdirected::<Self>(handler) }
            }
        }
    });
    let flow = (!flows.is_empty()).then(|| {
        quote! {
            fn flow<'a>(
                &'a mut self,
                handler: usize,
                cx: &'a mut #support::Flow,
                input: #support::Bytes,
            ) -> #support::LocalFuture<'a> {
                ::std::boxed::Box::pin(async move {
                    match handler { #(#flows)* _ => #support::misdirected::<Self>(handler) }
                })
            }
        }
    });
    quote! {
        #[allow(clippy::needless_update)]
        impl #support::Handlers for #entity {
            fn handlers() -> ::std::vec::Vec<#support::HandlerDescriptor> {
                #(#requirements)*
                ::std::vec![#(#descriptors),*]
            }

            #turn
            #read
            #flow
        }
    }
}
