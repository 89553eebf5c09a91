//! The attributes `#[object]`, `#[service]` and `#[handlers]` of Abide.
//!
//! They are thin: what they write are implementations of the public traits `Entity`, `Handlers` and `Callable` of
//! `abide-sdk`, a typed client, and, in the body of exclusive flows, a call before every `.await` that journals changed
//! state. All mistakes that can be seen in the syntax are reported here; the rest is left to trait bounds with
//! explanations of their own.

mod awaits;
mod client;
mod entity;
mod handlers;
mod options;
mod signature;
mod test;

use proc_macro::TokenStream;

/// Makes a struct an object: its fields are the state of each key, stored by name as JSON.
///
/// `Serialize`, `Deserialize` and `Default` are derived unless they are derived already; a derive has to stand below
/// `#[object]`. A field that is not stored yet has its default. `#[object(name = "…")]` gives another name than the
/// struct's.
#[proc_macro_attribute]
pub fn object(options: TokenStream, item: TokenStream) -> TokenStream {
    entity::expand(entity::Role::Object, options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a struct a service: handlers without key and state.
///
/// Each invocation gets an instance by `Default`, which is derived unless it is derived already.
/// `#[service(name = "…")]` gives another name than the struct's. `#[service(bound_with)]` leaves making instances to the
/// function given to `bind_with`.
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    entity::expand(entity::Role::Service, options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes the methods of an `impl` block handlers, and writes a typed client named after the struct.
///
/// | on | signature | what it is |
/// |---|---|---|
/// | objects | `fn h(&mut self, cx: &mut Turn, …)` | exclusive turn: one atomic commit |
/// | objects | `fn h(&self, cx: &Read, …)` | shared turn: reads only |
/// | objects | `async fn h(&mut self, cx: &mut Flow, …)` | exclusive flow: durable steps |
/// | objects, services | `async fn h(&self, cx: &mut Flow, …)` | shared flow |
/// | services | `fn h(&self, cx: &mut Turn, …)` | turn |
///
/// A handler takes at most one argument. It is fallible when the last name of its return type ends with `Result`; the
/// error has to implement `HandlerError`. Methods without a context are left alone.
///
/// `#[handler(name = "…", private, retry(initial = "1s", factor = 2.0, max_interval = "1m", max_attempts = 5,
/// exhausted = "pause"))]` sets options; all of them are optional. Private handlers are called by other handlers only.
#[proc_macro_attribute]
pub fn handlers(options: TokenStream, item: TokenStream) -> TokenStream {
    handlers::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes an async function a test that runs in a world of `abide::testing`: the real engine in memory, with a virtual
/// clock and one seed. Needs the feature `testing` of `abide`.
///
/// `#[abide::test(bind(Account, Mailer))]` binds objects and services. Further options, all of them optional: `world =
/// builder()`, an expression for a `WorldBuilder` to begin with; `seed = 7`; `partitions = 1`; and
/// `crash_at_every_commit`, which runs the test once as it is, and then with a crash before and after every commit.
///
/// The function takes the `World`, and returns nothing or a `Result`.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    test::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
