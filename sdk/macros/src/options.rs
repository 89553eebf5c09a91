//! `#[handler(…)]` and doc comments.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Expr, ExprLit, Lit, LitFloat, LitInt, LitStr, Meta, Result};

/// What `#[handler(…)]` says.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) private: bool,
    /// Expression of a `RetryPolicy`.
    pub(crate) retry: Option<TokenStream>,
}

impl Options {
    /// Takes the `#[handler]` attribute out of `attributes`; `None` when there is none.
    pub(crate) fn take(attributes: &mut Vec<Attribute>) -> Result<Option<Self>> {
        let Some(place) = attributes.iter().position(|attribute| attribute.path().is_ident("handler")) else {
            return Ok(None);
        };
        let attribute = attributes.remove(place);
        let mut options = Self::default();
        if !matches!(attribute.meta, Meta::Path(_)) {
            attribute.parse_nested_meta(|meta| options.read(&meta))?;
        }
        Ok(Some(options))
    }

    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("name") {
            self.name = Some(meta.value()?.parse()?);
            Ok(())
        } else if meta.path.is_ident("private") {
            self.private = true;
            if meta.input.peek(syn::Token![=]) {
                return Err(meta.error("write `private` alone; leave it out for a public handler"));
            }
            Ok(())
        } else if meta.path.is_ident("retry") {
            self.retry = Some(retry(meta)?);
            Ok(())
        } else {
            Err(meta.error("unknown option; there are `name = \"…\"`, `private` and `retry(…)`"))
        }
    }
}

fn retry(meta: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let support = quote!(::abide::__private::macro_support);
    let mut fields = Vec::new();
    meta.parse_nested_meta(|meta| {
        if meta.path.is_ident("initial") || meta.path.is_ident("max_interval") {
            let field = &meta.path;
            let millis = duration(&meta.value()?.parse()?)?;
            fields.push(quote!(#field: ::core::time::Duration::from_millis(#millis)));
        } else if meta.path.is_ident("factor") {
            let factor = meta.value()?.parse::<LitFloat>()?;
            fields.push(quote!(factor: #factor));
        } else if meta.path.is_ident("max_attempts") {
            let attempts = meta.value()?.parse::<LitInt>()?;
            if attempts.base10_parse::<u32>()? == 0 {
                return Err(Error::new(attempts.span(), "the first attempt counts: write at least 1"));
            }
            fields.push(quote!(max_attempts: ::core::option::Option::Some(#attempts)));
        } else if meta.path.is_ident("exhausted") {
            let end = meta.value()?.parse::<LitStr>()?;
            let end = match end.value().as_str() {
                "pause" => quote!(Pause),
                "fail" => quote!(Fail),
                _ => return Err(Error::new(end.span(), "write \"pause\" (wait for an operator) or \"fail\"")),
            };
            fields.push(quote!(exhausted: #support::Exhausted::#end));
        } else {
            return Err(meta.error(
                "unknown option; there are `initial`, `factor`, `max_interval`, `max_attempts` and `exhausted`",
            ));
        }
        Ok(())
    })?;
    Ok(quote!(#support::RetryPolicy { #(#fields,)* ..::core::default::Default::default() }))
}

/// Milliseconds of a text such as `500ms`, `10s`, `5m`, `2h` or `1d`.
fn duration(text: &LitStr) -> Result<u64> {
    const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let value = text.value();
    let parsed = UNITS.iter().find_map(|(unit, millis)| {
        let count: u64 = value.strip_suffix(unit)?.trim_end().parse().ok()?;
        count.checked_mul(*millis)
    });
    parsed
        .ok_or_else(|| Error::new(text.span(), "not a duration: write for example \"500ms\", \"10s\", \"5m\", \"2h\""))
}

/// The text of doc comments; empty when there are none.
pub(crate) fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).filter_map(|attribute| {
        let Meta::NameValue(meta) = &attribute.meta else { return None };
        let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &meta.value else { return None };
        let text = text.value();
        Some(text.strip_prefix(' ').map(str::to_owned).unwrap_or(text))
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}
