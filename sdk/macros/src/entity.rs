//! `#[object]`, `#[service]` and `#[workflow]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Attribute, Error, Fields, ItemStruct, LitStr, Result};

use crate::options::{self, RunOptions, documentation};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Object,
    Service,
    Workflow,
}

impl Role {
    /// With its article, for messages.
    fn what(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Service => "a service",
            Self::Workflow => "a workflow",
        }
    }
}

pub(crate) fn expand(role: Role, options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut options = Options::parse(role, options)?;
    let what = role.what();
    let item: ItemStruct = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), format!("{what} is a struct: `struct Name {{ … }}`")))?;
    if let Some(parameter) = item.generics.params.first() {
        return Err(Error::new(parameter.span(), format!("{what} cannot be generic: its name has to mean one type")));
    }
    if role != Role::Service && matches!(item.fields, Fields::Unnamed(_)) {
        let message =
            format!("the fields of {what} need names, under which they are stored: `struct Name {{ field: Type }}`");
        return Err(Error::new(item.fields.span(), message));
    }
    let derives = Derives::of(&item.attrs);
    let ident = &item.ident;
    let name = options.name.take().unwrap_or_else(|| LitStr::new(&ident.to_string(), ident.span()));
    let docs = documentation(&item.attrs);
    let docs = if docs.is_empty() {
        quote!(::core::option::Option::None)
    } else {
        quote!(::core::option::Option::Some(#docs))
    };
    let support = quote!(::abide::__private::macro_support);
    let keyed = || {
        let load = quote_spanned!(ident.span()=> #support::load::<Self>(fields));
        let load = match &options.migrate {
            Some(migrate) => quote!({
                let mut fields = ::core::clone::Clone::clone(fields);
                let migrate: fn(&mut #support::Fields) = #migrate;
                migrate(&mut fields);
                let fields = &fields;
                #load
            }),
            None => load,
        };
        (state_attributes(&item, &derives), load, quote_spanned!(ident.span()=> #support::save::<Self>(self)))
    };
    let (kind, (attributes, load, save)) = match role {
        Role::Object => (quote!(Object), keyed()),
        Role::Workflow => (quote!(Workflow), keyed()),
        Role::Service => (quote!(Service), unkeyed(&derives, options.bound_with)),
    };
    let keyed = (role != Role::Service).then(|| quote!(impl #support::Keyed for #ident {}));
    let version = match &options.version {
        Some(version) => quote!(#version),
        None => quote!(::core::env!("CARGO_PKG_VERSION")),
    };
    let said = (!options.run.is_empty()).then(|| {
        let said = options.run.expression();
        quote! {
            #[allow(clippy::needless_update)]
            fn options() -> #support::Options {
                #said
            }
        }
    });
    Ok(quote! {
        #attributes
        #item

        impl #support::Entity for #ident {
            const NAME: &'static str = #name;
            const KIND: #support::Kind = #support::Kind::#kind;
            const DOCUMENTATION: ::core::option::Option<&'static str> = #docs;
            const VERSION: &'static str = #version;

            #said

            fn load(fields: &#support::Fields) -> ::core::result::Result<Self, #support::StateError> {
                #load
            }

            fn save(&self) -> ::core::result::Result<#support::Fields, #support::StateError> {
                #save
            }
        }

        impl #support::#kind for #ident {}
        #keyed
    })
}

/// Attributes, `load` and `save` of a service.
fn unkeyed(derives: &Derives, bound_with: bool) -> (TokenStream, TokenStream, TokenStream) {
    let support = quote!(::abide::__private::macro_support);
    let default = (!derives.default && !bound_with).then(|| quote!(#[derive(::core::default::Default)]));
    let load = if bound_with {
        quote!({ let _ = fields; #support::not_bound_with::<Self>() })
    } else {
        quote!({
            let _ = fields;
            ::core::result::Result::Ok(<Self as ::core::default::Default>::default())
        })
    };
    (quote!(#default), load, quote!(::core::result::Result::Ok(::core::default::Default::default())))
}

/// The derives that stored state needs and does not have.
fn state_attributes(item: &ItemStruct, derives: &Derives) -> TokenStream {
    let span = item.ident.span();
    let mut missing = Vec::new();
    if !derives.default {
        missing.push(quote_spanned!(span=> ::core::default::Default));
    }
    if !derives.serialize {
        missing.push(quote_spanned!(span=> ::abide::__private::macro_support::serde::Serialize));
    }
    if !derives.deserialize {
        missing.push(quote_spanned!(span=> ::abide::__private::macro_support::serde::Deserialize));
    }
    let own_serde = (!derives.serialize || !derives.deserialize)
        .then(|| quote!(#[serde(crate = "::abide::__private::macro_support::serde")]));
    let default = (!matches!(item.fields, Fields::Unit)).then(|| quote!(#[serde(default)]));
    quote!(#[derive(#(#missing),*)] #own_serde #default)
}

#[derive(Default)]
struct Derives {
    default: bool,
    serialize: bool,
    deserialize: bool,
}

impl Derives {
    fn of(attributes: &[Attribute]) -> Self {
        let mut derives = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
            // A malformed derive is reported by the compiler itself.
            let _ = attribute.parse_nested_meta(|meta| {
                match meta.path.segments.last().map(|segment| segment.ident.to_string()).as_deref() {
                    Some("Default") => derives.default = true,
                    Some("Serialize") => derives.serialize = true,
                    Some("Deserialize") => derives.deserialize = true,
                    _ => {}
                }
                Ok(())
            });
        }
        derives
    }
}

#[derive(Default)]
struct Options {
    name: Option<LitStr>,
    bound_with: bool,
    version: Option<LitStr>,
    /// Path of the function that brings stored fields up to date.
    migrate: Option<TokenStream>,
    run: RunOptions,
}

impl Options {
    fn parse(role: Role, tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("name") {
                options.name = Some(meta.value()?.parse()?);
                Ok(())
            } else if meta.path.is_ident("version") {
                options.version = Some(options::version(&meta)?);
                Ok(())
            } else if meta.path.is_ident("bound_with") && role == Role::Service {
                options.bound_with = true;
                Ok(())
            } else if meta.path.is_ident("migrate") && role != Role::Service {
                options.migrate = Some(options::path(&meta)?);
                Ok(())
            } else if meta.path.is_ident("state_ttl") && role == Role::Object {
                options.run.read_state_ttl(&meta)
            } else if meta.path.is_ident("state_ttl") && role == Role::Workflow {
                Err(meta.error("the state of a workflow goes with its result: write `retention = \"…\"`"))
            } else if options.run.read(&meta)? {
                Ok(())
            } else {
                let own = match role {
                    Role::Object => "`migrate = …`, `state_ttl = \"30d\"`, ",
                    Role::Workflow => "`migrate = …`, ",
                    Role::Service => "`bound_with`, ",
                };
                let known = RunOptions::KNOWN;
                Err(meta.error(format!("unknown option; there are `name = \"…\"`, `version = 2`, {own}{known}")))
            }
        });
        syn::parse::Parser::parse2(parser, tokens)?;
        Ok(options)
    }
}
