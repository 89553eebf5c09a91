//! `#[handlers]`.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, ImplItem, ImplItemFn, ItemImpl, LitStr, PathArguments, Result, Type, parse_quote};

use crate::options::{self, Options, documentation};
use crate::signature::{self, Returns, Shape, Signature};
use crate::{awaits, client, kept};

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
    let version = version(options)?;
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
    if let Some(version) = version {
        let kept = kept::expand(&entity, &version, &handlers)?;
        return Ok(quote!(#item #kept));
    }
    let implementation = implementation(&entity, &quote!(self), &handlers);
    let run = check_run(&entity, &handlers);
    let client = client::expand(&entity, &handlers);
    Ok(quote!(#item #implementation #run #client))
}

/// The version in `#[handlers(version = …)]`: the block is code of that version, kept beside the current one.
fn version(options: TokenStream) -> Result<Option<LitStr>> {
    let mut version = None;
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("version") {
            version = Some(options::version(&meta)?);
            return Ok(());
        }
        Err(meta.error(
            "unknown option; there is `version = 1` for code of an earlier version; handlers have options of \
                        their own: `#[handler(…)]`",
        ))
    });
    syn::parse::Parser::parse2(parser, options)?;
    Ok(version)
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
        if let (Some(span), false) = (options.run.concurrency, signature.is_flow()) {
            let message = "`concurrency` bounds attempts of flows, and this is a turn, which runs to its end at once";
            return Err(Error::new(span, message));
        }
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
        let entity = &self.entity;
        let access = if self.is_run() {
            quote!(#support::access_of_run(<#entity as #support::Entity>::KIND))
        } else {
            quote!(#support::Access::#access)
        };
        let (name, docs, public) = (&self.name, &self.docs, !self.options.private);
        let options = self.options.run.expression();
        quote! {
            #support::HandlerDescriptor {
                name: #name.into(),
                access: #access,
                form: #support::Form::#form,
                options: #options,
                public: #public,
                documentation: #support::documentation(#docs),
            }
        }
    }

    /// Whether it has the name and the shape of what runs once per key of a workflow. In an object it is a handler like
    /// any other.
    fn is_run(&self) -> bool {
        self.signature.shape == Shape::ExclusiveFlow && self.name.value() == RUN
    }

    /// A bound that explains itself when the shape does not fit the type.
    fn requirement(&self) -> TokenStream {
        let entity = Ident::new(&self.entity.to_string(), self.signature.context);
        let span = self.signature.context;
        match self.signature.shape {
            Shape::ExclusiveFlow if self.is_run() => {
                quote_spanned!(span=> ::abide::__private::macro_support::requires_keyed::<#entity>();)
            }
            Shape::SharedTurn => {
                quote_spanned!(span=> ::abide::__private::macro_support::requires_keyed::<#entity>();)
            }
            Shape::ExclusiveTurn | Shape::ExclusiveFlow => {
                quote_spanned!(span=> ::abide::__private::macro_support::requires_object::<#entity>();)
            }
            Shape::ServiceTurn => {
                quote_spanned!(span=> ::abide::__private::macro_support::requires_service::<#entity>();)
            }
            Shape::SharedFlow => quote!(),
        }
    }

    /// The arm of the dispatching `match`; `receiver` is what the method is called on.
    fn arm(&self, index: usize, receiver: &TokenStream) -> TokenStream {
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
        let called = quote!(#receiver.#ident(cx #pass)#wait);
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

/// Name of the handler that a workflow executes once per key.
const RUN: &str = "run";

/// A check that compiles unless the entity is a workflow without a proper `run`. What kind it is stands above the struct,
/// not above this block, so the compiler has to look: at `Entity::KIND`, in a constant.
fn check_run(entity: &Ident, handlers: &[Handler]) -> TokenStream {
    if handlers.iter().any(Handler::is_run) {
        return quote!();
    }
    let support = quote!(::abide::__private::macro_support);
    let misshaped = handlers.iter().find(|handler| handler.name.value() == RUN);
    let span = misshaped.map_or(entity.span(), |handler| handler.ident.span());
    let what = if misshaped.is_some() { "`run` has another shape" } else { "there is no `run`" };
    let message = format!(
        "`{entity}` is a workflow, and {what}: what it does once per key is \
         `async fn run(&mut self, cx: &mut Flow, …)`"
    );
    let entity = Ident::new(&entity.to_string(), span);
    quote_spanned! {span=>
        const _: () = ::core::assert!(
            !::core::matches!(<#entity as #support::Entity>::KIND, #support::Kind::Workflow),
            #message
        );
    }
}

/// The implementation of `Handlers` for `entity`, whose methods are called on `receiver`.
pub(crate) fn implementation(entity: &Ident, receiver: &TokenStream, handlers: &[Handler]) -> TokenStream {
    let support = quote!(::abide::__private::macro_support);
    let descriptors = handlers.iter().map(Handler::descriptor);
    let requirements = handlers.iter().map(Handler::requirement);
    let arms = |shapes: &[Shape]| -> Vec<TokenStream> {
        let numbered = handlers.iter().enumerate().filter(|(_, handler)| shapes.contains(&handler.signature.shape));
        numbered.map(|(index, handler)| handler.arm(index, receiver)).collect()
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
