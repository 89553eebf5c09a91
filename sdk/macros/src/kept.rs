//! `#[handlers(version = …)]`: code of an earlier version, kept beside the current one.
//!
//! The block becomes a type of its own around the entity, with the entity's name and state and its own version: what is
//! bound for it can be told from the current code by the version alone.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Error, LitStr, Result};

use crate::handlers::{Handler, implementation};

pub(crate) fn expand(entity: &Ident, version: &LitStr, handlers: &[Handler]) -> Result<TokenStream> {
    if let Some(turn) = handlers.iter().find(|handler| !handler.signature.is_flow()) {
        let message = "a turn is over at once, so no earlier version of it is ever needed: keep `async fn`s only";
        return Err(Error::new(turn.signature.context, message));
    }
    let support = quote!(::abide::__private::macro_support);
    let suffix: String = version.value().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let kept = format_ident!("{entity}V{suffix}", span = entity.span());
    let implementation = implementation(&kept, &quote!(self.0), handlers);
    let docs = format!(
        "Code of version {version} of [`{entity}`], for flows that started on it: bind it with `keep::<{kept}>()`.",
        version = version.value()
    );
    let message = format!("version {} of `{entity}` is the current one: an earlier one is kept", version.value());
    let current = quote_spanned! {version.span()=>
        const _: () = ::core::assert!(
            !#support::same_text(<#entity as #support::Entity>::VERSION, #version),
            #message
        );
    };
    Ok(quote! {
        #[doc = #docs]
        #[allow(unreachable_pub, private_interfaces)]
        pub struct #kept(
            /// The entity as the earlier code sees it.
            pub #entity,
        );

        impl #support::Entity for #kept {
            const NAME: &'static str = <#entity as #support::Entity>::NAME;
            const KIND: #support::Kind = <#entity as #support::Entity>::KIND;
            const DOCUMENTATION: ::core::option::Option<&'static str> = <#entity as #support::Entity>::DOCUMENTATION;
            const VERSION: &'static str = #version;

            fn options() -> #support::Options {
                <#entity as #support::Entity>::options()
            }

            fn load(fields: &#support::Fields) -> ::core::result::Result<Self, #support::StateError> {
                <#entity as #support::Entity>::load(fields).map(Self)
            }

            fn save(&self) -> ::core::result::Result<#support::Fields, #support::StateError> {
                <#entity as #support::Entity>::save(&self.0)
            }
        }

        #current
        #implementation

        impl #support::KeptHandlers for #kept {}
    })
}
