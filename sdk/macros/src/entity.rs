//! `#[object]` and `#[service]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Attribute, Error, Fields, ItemStruct, LitStr, Result};

use crate::options::documentation;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Object,
    Service,
}

pub(crate) fn expand(role: Role, options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut options = Options::parse(role, options)?;
    let what = if role == Role::Object { "an object" } else { "a service" };
    let item: ItemStruct = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), format!("{what} is a struct: `struct Name {{ … }}`")))?;
    if let Some(parameter) = item.generics.params.first() {
        return Err(Error::new(parameter.span(), format!("{what} cannot be generic: its name has to mean one type")));
    }
    if role == Role::Object && matches!(item.fields, Fields::Unnamed(_)) {
        let message = "the fields of an object need names, under which they are stored: `struct Name { field: Type }`";
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
    let (attributes, kind, marker, load, save) = match role {
        Role::Object => (
            object_attributes(&item, &derives),
            quote!(Object),
            quote!(Object),
            quote_spanned!(ident.span()=> #support::load::<Self>(fields)),
            quote_spanned!(ident.span()=> #support::save::<Self>(self)),
        ),
        Role::Service => (
            if derives.default || options.bound_with { quote!() } else { quote!(#[derive(::core::default::Default)]) },
            quote!(Service),
            quote!(Service),
            if options.bound_with {
                quote!({ let _ = fields; #support::not_bound_with::<Self>() })
            } else {
                quote!({
                    let _ = fields;
                    ::core::result::Result::Ok(<Self as ::core::default::Default>::default())
                })
            },
            quote!(::core::result::Result::Ok(::core::default::Default::default())),
        ),
    };
    Ok(quote! {
        #attributes
        #item

        impl #support::Entity for #ident {
            const NAME: &'static str = #name;
            const KIND: #support::Kind = #support::Kind::#kind;
            const DOCUMENTATION: ::core::option::Option<&'static str> = #docs;

            fn load(fields: &#support::Fields) -> ::core::result::Result<Self, #support::StateError> {
                #load
            }

            fn save(&self) -> ::core::result::Result<#support::Fields, #support::StateError> {
                #save
            }
        }

        impl #support::#marker for #ident {}
    })
}

/// The derives an object needs and does not have.
fn object_attributes(item: &ItemStruct, derives: &Derives) -> TokenStream {
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
}

impl Options {
    fn parse(role: Role, tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("name") {
                options.name = Some(meta.value()?.parse()?);
                Ok(())
            } else if meta.path.is_ident("bound_with") && role == Role::Service {
                options.bound_with = true;
                Ok(())
            } else if role == Role::Service {
                Err(meta.error("unknown option; there are `name = \"…\"` and `bound_with`"))
            } else {
                Err(meta.error("unknown option; there is `name = \"…\"`"))
            }
        });
        syn::parse::Parser::parse2(parser, tokens)?;
        Ok(options)
    }
}
