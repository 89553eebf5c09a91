//! What a method's signature says about the handler it is.

use proc_macro2::{Ident, Span};
use syn::spanned::Spanned as _;
use syn::{Error, FnArg, GenericArgument, ImplItemFn, Pat, PatType, PathArguments, Receiver, Result, ReturnType, Type};

/// How a handler runs, from its receiver and context.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `fn (&mut self, &mut Turn)`: objects only.
    ExclusiveTurn,
    /// `fn (&self, &Read)`: objects only.
    SharedTurn,
    /// `fn (&self, &mut Turn)`: services only.
    ServiceTurn,
    /// `async fn (&mut self, &mut Flow)`: objects only.
    ExclusiveFlow,
    /// `async fn (&self, &mut Flow)`.
    SharedFlow,
}

/// A checked signature.
pub(crate) struct Signature {
    pub(crate) shape: Shape,
    /// Where to point when the shape does not fit the type.
    pub(crate) context: Span,
    pub(crate) argument: Option<Argument>,
    pub(crate) returns: Returns,
}

impl Signature {
    pub(crate) fn is_flow(&self) -> bool {
        matches!(self.shape, Shape::ExclusiveFlow | Shape::SharedFlow)
    }
}

pub(crate) struct Argument {
    /// Name for the client's parameter.
    pub(crate) name: Ident,
    pub(crate) ty: Type,
}

pub(crate) enum Returns {
    /// `()` when nothing is written.
    Plain(Option<Box<Type>>),
    /// A type whose last name ends with `Result`, and its parts if both are written.
    Fallible { whole: Box<Type>, parts: Option<Box<(Type, Type)>> },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Turn,
    Read,
    Flow,
}

/// The signature of a handler; `None` for a method that is none.
pub(crate) fn read(method: &ImplItemFn, marked: bool) -> Result<Option<Signature>> {
    let signature = &method.sig;
    let typed: Vec<&PatType> = signature.inputs.iter().filter_map(typed).collect();
    let contexts: Vec<_> = typed.iter().filter_map(|input| context(&input.ty)).collect();
    if contexts.is_empty() {
        return if marked { Err(missing_context(method)) } else { Ok(None) };
    }
    if let Some(parameter) = signature.generics.params.first() {
        let message = "a handler cannot be generic: callers reach it by name, with one type of argument";
        return Err(Error::new(parameter.span(), message));
    }
    let receiver = receiver(method)?;
    let first = typed.first().and_then(|input| context(&input.ty));
    let Some((kind, mutable, span)) = first.filter(|_| contexts.len() == 1) else {
        let message = "the context is the first parameter after `self`, and the only one: \
                       `fn name(&mut self, cx: &mut Turn, argument: Type)`";
        return Err(Error::new(contexts[0].2, message));
    };
    let shape = shape(method, receiver, kind, mutable, span)?;
    if let Some(extra) = typed.get(2) {
        let message = "a handler takes at most one argument after its context: put them into one struct that derives \
                       `Serialize` and `Deserialize`, or into a tuple";
        return Err(Error::new(extra.span(), message));
    }
    let argument = typed.get(1).map(|input| argument(input)).transpose()?;
    Ok(Some(Signature { shape, context: span, argument, returns: returns(&signature.output)? }))
}

fn typed(input: &FnArg) -> Option<&PatType> {
    match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    }
}

fn missing_context(method: &ImplItemFn) -> Error {
    let context = if method.sig.asyncness.is_some() { "cx: &mut Flow" } else { "cx: &mut Turn" };
    let message = format!("a handler takes a context as its first parameter after `self`: add `{context}`");
    Error::new(method.sig.ident.span(), message)
}

/// Whether `self` is mutable.
fn receiver(method: &ImplItemFn) -> Result<bool> {
    let by_value =
        "a handler does not take `self` by value: write `&mut self` to change the object, `&self` to read it";
    match method.sig.inputs.first() {
        Some(FnArg::Receiver(Receiver { reference: Some(_), mutability, .. })) => Ok(mutability.is_some()),
        Some(FnArg::Receiver(receiver)) => Err(Error::new(receiver.span(), by_value)),
        _ => {
            let message = "a handler takes `&mut self` or `&self` as its first parameter";
            Err(Error::new(method.sig.ident.span(), message))
        }
    }
}

/// Which context a type refers to, whether mutably, and where.
fn context(ty: &Type) -> Option<(Context, bool, Span)> {
    let (inner, mutable) = match ty {
        Type::Reference(reference) => (&*reference.elem, reference.mutability.is_some()),
        other => (other, false),
    };
    let Type::Path(path) = inner else { return None };
    let kind = match path.path.segments.last()?.ident.to_string().as_str() {
        "Turn" => Context::Turn,
        "Read" => Context::Read,
        "Flow" => Context::Flow,
        _ => return None,
    };
    Some((kind, mutable, ty.span()))
}

fn shape(method: &ImplItemFn, exclusive: bool, context: Context, mutable: bool, span: Span) -> Result<Shape> {
    let is_async = method.sig.asyncness.is_some();
    let message = match (is_async, context, exclusive, mutable) {
        (true, Context::Flow, true, true) => return Ok(Shape::ExclusiveFlow),
        (true, Context::Flow, false, true) => return Ok(Shape::SharedFlow),
        (false, Context::Turn, true, true) => return Ok(Shape::ExclusiveTurn),
        (false, Context::Turn, false, true) => return Ok(Shape::ServiceTurn),
        (false, Context::Read, false, false) => return Ok(Shape::SharedTurn),
        (true, Context::Turn, ..) => {
            "an `async fn` is a flow and takes `cx: &mut Flow`; for a turn, which does not wait, remove `async`"
        }
        (true, Context::Read, ..) => {
            "an `async fn` is a flow and takes `cx: &mut Flow`; for a shared turn, which does not wait, remove `async`"
        }
        (false, Context::Flow, ..) => {
            "`Flow` is for flows, which are written `async fn`: add `async`, or take `cx: &mut Turn`"
        }
        (false, Context::Read, true, _) => {
            "`Read` is for shared turns: write `&self` to only read the object, or take `cx: &mut Turn` to change it"
        }
        (false, Context::Read, false, true) => "a shared turn takes `cx: &Read`",
        (false, Context::Turn, _, false) => "a turn takes `cx: &mut Turn`",
        (true, Context::Flow, _, false) => {
            "a flow takes `cx: &mut Flow`; a helper function goes into an `impl` block without `#[handlers]`"
        }
    };
    Err(Error::new(span, message))
}

fn argument(input: &PatType) -> Result<Argument> {
    let ty = (*input.ty).clone();
    match &ty {
        Type::Reference(reference) => {
            let message =
                "an argument is sent and stored, so it is owned: take `String` for `&str`, `Vec<T>` for `&[T]`";
            return Err(Error::new(reference.span(), message));
        }
        Type::ImplTrait(generic) => {
            let message = "a handler cannot be generic: callers reach it by name, with one type of argument";
            return Err(Error::new(generic.span(), message));
        }
        _ => {}
    }
    let name = match &*input.pat {
        Pat::Ident(pattern) => pattern.ident.to_string().trim_start_matches('_').to_owned(),
        _ => String::new(),
    };
    let name = if name.is_empty() { "argument" } else { &name };
    Ok(Argument { name: Ident::new(name, input.pat.span()), ty })
}

fn returns(output: &ReturnType) -> Result<Returns> {
    let ReturnType::Type(_, ty) = output else { return Ok(Returns::Plain(None)) };
    match &**ty {
        Type::ImplTrait(hidden) => {
            let message = "name the type: the result of a handler is sent to its caller";
            return Err(Error::new(hidden.span(), message));
        }
        Type::Path(path) => {
            let last = path.path.segments.last().filter(|last| last.ident.to_string().ends_with("Result"));
            if let Some(last) = last {
                return Ok(Returns::Fallible { whole: ty.clone(), parts: parts(&last.arguments) });
            }
        }
        _ => {}
    }
    Ok(Returns::Plain(Some(ty.clone())))
}

fn parts(arguments: &PathArguments) -> Option<Box<(Type, Type)>> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return None };
    let types: Vec<&Type> = arguments
        .args
        .iter()
        .filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        })
        .collect();
    match types.as_slice() {
        [value, error] => Some(Box::new(((*value).clone(), (*error).clone()))),
        _ => None,
    }
}
