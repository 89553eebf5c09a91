//! `#[handler(…)]`, what `#[object]`, `#[service]` and `#[workflow]` have in common with it, and doc comments.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote};
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned as _;
use syn::{Attribute, Error, Expr, ExprLit, Lit, LitFloat, LitInt, LitStr, Meta, Result};

/// What `#[handler(…)]` says.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) private: bool,
    pub(crate) run: RunOptions,
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
        } else if meta.path.is_ident("state_ttl") {
            Err(meta.error("state belongs to the object, not to a handler: write `#[object(state_ttl = \"…\")]`"))
        } else if self.run.read(meta)? {
            Ok(())
        } else {
            Err(meta.error(format!("unknown option; there are `name = \"…\"`, `private`, {}", RunOptions::KNOWN)))
        }
    }
}

/// How handlers are run: what a whole type and a single handler can both say. Each is the expression of a field of
/// `abide::service::Options`.
#[derive(Default)]
pub(crate) struct RunOptions {
    fields: Vec<(&'static str, TokenStream)>,
    /// Where `concurrency` stands, if it does.
    pub(crate) concurrency: Option<proc_macro2::Span>,
}

impl RunOptions {
    /// For messages about unknown options.
    pub(crate) const KNOWN: &'static str = "`retry(…)`, `retention = \"7d\"`, `journal_retention = \"1d\"`, \
                                            `priority = \"high\"`, `concurrency = 10`, `rate = \"100/s\"` and `key_rate = \"5/s\"`";

    /// Reads the option at `meta`; `false` when it is not one of these.
    pub(crate) fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<bool> {
        const DURATIONS: [&str; 2] = ["retention", "journal_retention"];
        const RATES: [&str; 2] = ["rate", "key_rate"];
        let (field, value) = if let Some(name) = DURATIONS.into_iter().find(|name| meta.path.is_ident(name)) {
            (name, duration_of(meta)?)
        } else if let Some(name) = RATES.into_iter().find(|name| meta.path.is_ident(name)) {
            (name, rate(&meta.value()?.parse()?)?)
        } else if meta.path.is_ident("concurrency") {
            let count = meta.value()?.parse::<LitInt>()?;
            if count.base10_parse::<u32>()? == 0 {
                return Err(Error::new(count.span(), "with 0 nothing would ever run: write at least 1"));
            }
            self.concurrency = Some(meta.path.span());
            ("concurrency", quote!(#count))
        } else if meta.path.is_ident("priority") {
            ("priority", priority(&meta.value()?.parse()?)?)
        } else if meta.path.is_ident("retry") {
            ("retry", retry(meta)?)
        } else {
            return Ok(false);
        };
        self.set(meta, field, value)?;
        Ok(true)
    }

    /// Reads the value of `state_ttl`, which only objects have.
    pub(crate) fn read_state_ttl(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let ttl = duration_of(meta)?;
        self.set(meta, "state_ttl", ttl)
    }

    fn set(&mut self, meta: &ParseNestedMeta<'_>, field: &'static str, value: TokenStream) -> Result<()> {
        if self.fields.iter().any(|(known, _)| *known == field) {
            return Err(meta.error(format!("`{field}` is set twice")));
        }
        self.fields.push((field, value));
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The expression of an `abide::service::Options`.
    pub(crate) fn expression(&self) -> TokenStream {
        let support = quote!(::abide::__private::macro_support);
        let fields = self.fields.iter().map(|(field, value)| {
            let field = proc_macro2::Ident::new(field, proc_macro2::Span::call_site());
            quote!(#field: ::core::option::Option::Some(#value))
        });
        quote!(#support::Options { #(#fields,)* ..::core::default::Default::default() })
    }
}

/// A version: `2`, `"2"` or `"2026-11"`.
pub(crate) fn version(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let literal: Lit = meta.value()?.parse()?;
    let text = match &literal {
        Lit::Int(number) => number.base10_parse::<u64>()?.to_string(),
        Lit::Str(text) => text.value(),
        other => return Err(Error::new(other.span(), "a version is a number or a text: `version = 2`")),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    if text.is_empty() || text.len() > VERSION_MAX || !text.chars().all(fits) {
        let message = format!("a version has 1 to {VERSION_MAX} letters, digits and `.`, `-`, `_`, `+`");
        return Err(Error::new(literal.span(), message));
    }
    Ok(LitStr::new(&text, literal.span()))
}

/// Most characters of a version: it is stored with every flow.
const VERSION_MAX: usize = 64;

fn retry(meta: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let support = quote!(::abide::__private::macro_support);
    let mut fields = Vec::new();
    meta.parse_nested_meta(|meta| {
        if meta.path.is_ident("initial") || meta.path.is_ident("max_interval") {
            let field = &meta.path;
            let duration = duration_of(&meta)?;
            fields.push(quote!(#field: #duration));
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

/// The expression of a `Priority`.
fn priority(word: &LitStr) -> Result<TokenStream> {
    let support = quote!(::abide::__private::macro_support);
    let class = match word.value().as_str() {
        "high" => quote!(High),
        "normal" => quote!(Normal),
        "low" => quote!(Low),
        _ => return Err(Error::new(word.span(), "not a priority: write \"high\", \"normal\" or \"low\"")),
    };
    Ok(quote!(#support::Priority::#class))
}

/// The expression of the `Duration` at `meta`.
fn duration_of(meta: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let text: LitStr = meta.value()?.parse()?;
    let millis = millis(&text.value()).ok_or_else(|| {
        Error::new(text.span(), "not a duration: write for example \"500ms\", \"10s\", \"5m\", \"2h\", \"7d\"")
    })?;
    Ok(quote!(::core::time::Duration::from_millis(#millis)))
}

/// Milliseconds of a text such as `500ms`, `10s`, `5m`, `2h` or `1d`.
fn millis(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    UNITS.iter().find_map(|(unit, millis)| {
        let count: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        count.checked_mul(*millis)
    })
}

/// The expression of a `Rate` such as `100/s`, `5/m` or `10/30s`.
fn rate(text: &LitStr) -> Result<TokenStream> {
    let support = quote!(::abide::__private::macro_support);
    let value = text.value();
    let parsed = value.split_once('/').and_then(|(count, per)| {
        let count: u32 = count.trim().parse().ok().filter(|count| *count > 0)?;
        let per = per.trim();
        let one = per.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| format!("1{per}"));
        let per = millis(one.as_deref().unwrap_or(per)).filter(|per| *per > 0)?;
        Some((count, per))
    });
    let (count, per) = parsed
        .ok_or_else(|| Error::new(text.span(), "not a rate: write for example \"100/s\", \"5/m\" or \"10/30s\""))?;
    Ok(quote!(#support::Rate { count: #count, per: ::core::time::Duration::from_millis(#per) }))
}

/// The path at `meta`: `migrate = upgrade` or `migrate = "path::to::upgrade"`.
pub(crate) fn path(meta: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let input = meta.value()?;
    if input.peek(LitStr) {
        return Ok(input.parse::<LitStr>()?.parse::<syn::Path>()?.into_token_stream());
    }
    Ok(input.parse::<syn::Path>()?.into_token_stream())
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
