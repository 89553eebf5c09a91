//! The attributes `#[object]`, `#[service]`, `#[workflow]` and `#[handlers]` of Abide.
//!
//! They are thin: what they write are implementations of the public traits `Entity`, `Handlers` and `Callable` of
//! `abide-sdk`, a typed client, and, in the body of exclusive flows, a call before every `.await` that journals changed
//! state. All mistakes that can be seen in the syntax are reported here; the rest is left to trait bounds with
//! explanations of their own. Whether a type is a workflow stands above its struct, which `#[handlers]` does not see: bounds
//! on the types decide, and constants of theirs (`Entity::KIND`), which are looked at when the crate is compiled.

mod awaits;
mod client;
mod entity;
mod handlers;
mod kept;
mod options;
mod signature;
mod test;

use proc_macro::TokenStream;

/// Makes a struct an object: its fields are the state of each key, stored by name as JSON.
///
/// `Serialize`, `Deserialize` and `Default` are derived unless they are derived already; a derive has to stand below
/// `#[object]`.
///
/// # Options
/// All are optional. Durations are `500ms`, `10s`, `5m`, `2h`, `7d`; rates `100/s`, `5/m`, `10/30s`.
///
/// | option | meaning |
/// |---|---|
/// | `name = "…"` | another name than the struct's |
/// | `version = 2` | version of the code, a number or a text; the crate's version without it |
/// | `migrate = path` | see below |
/// | `retention = "7d"` | how long results are kept |
/// | `journal_retention = "1d"` | how long journals of completed flows are kept |
/// | `state_ttl = "30d"` | state that was not changed for so long expires |
/// | `retry(initial = "1s", factor = 2.0, max_interval = "1m", max_attempts = 5, exhausted = "pause")` | what follows failed attempts |
/// | `priority = "high"` | exclusive handlers are taken from the mailbox of a busy object before `"normal"` ones, and these before `"low"` ones |
/// | `concurrency = 10` | most attempts of flows at a time, on one node |
/// | `rate = "100/s"`, `key_rate = "5/s"` | most requests that a node accepts, in all and for each key |
///
/// # When the struct changes
/// State that is stored is read into the struct as it is now:
///
/// * A new field has its default in state that was stored without it.
/// * A field that is gone is ignored, and removed when the state is next changed.
/// * A field with a new name keeps its content with `#[serde(alias = "old")]`: it is stored under the new name when the
///   state is next changed. With `#[serde(rename = "old")]` it stays stored under the old name, which is the choice
///   while flows are in flight that have changed it: their journals know it by that name.
/// * Everything else is for `migrate = path`, a `fn(&mut Fields)` that brings the stored fields up to date before they
///   are read: `Fields` maps names to JSON. It is called whenever state is read, so it has to leave alone what is up to
///   date already, and it must be deterministic.
#[proc_macro_attribute]
pub fn object(options: TokenStream, item: TokenStream) -> TokenStream {
    entity::expand(entity::Role::Object, options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a struct a service: handlers without key and state.
///
/// Each invocation gets an instance by `Default`, which is derived unless it is derived already.
/// `#[service(bound_with)]` leaves making instances to the function given to `bind_with`. Further options are those of
/// [`macro@object`] that do not concern state.
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    entity::expand(entity::Role::Service, options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a struct a workflow: its fields are the state of each key, and its handler `run` is executed once per key.
///
/// Only `run` changes the state. The other handlers run beside it and after it, for as long as its result is kept:
/// `retention = "7d"` says how long result, state and promises are. Further options are those of [`macro@object`] but
/// `state_ttl`.
#[proc_macro_attribute]
pub fn workflow(options: TokenStream, item: TokenStream) -> TokenStream {
    entity::expand(entity::Role::Workflow, options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes the methods of an `impl` block handlers, and writes a typed client named after the struct.
///
/// | on | signature | what it is |
/// |---|---|---|
/// | objects | `fn h(&mut self, cx: &mut Turn, …)` | exclusive turn: one atomic commit |
/// | objects, workflows | `fn h(&self, cx: &Read, …)` | shared turn: reads only |
/// | objects | `async fn h(&mut self, cx: &mut Flow, …)` | exclusive flow: durable steps |
/// | workflows | `async fn run(&mut self, cx: &mut Flow, …)` | flow that is executed once per key; each workflow has one |
/// | all | `async fn h(&self, cx: &mut Flow, …)` | shared flow |
/// | services | `fn h(&self, cx: &mut Turn, …)` | turn |
///
/// A handler takes at most one argument. It is fallible when the last name of its return type ends with `Result`; the
/// error has to implement `HandlerError`. Methods without a context are left alone.
///
/// `#[handler(…)]` above a method sets options: `name = "…"`; `private` for handlers that only other handlers may call;
/// and what [`macro@object`] has, for this handler alone: `retry(…)`, `retention`, `journal_retention`, `priority`,
/// `concurrency`, `rate`, `key_rate`.
///
/// # Earlier versions
/// Flows finish on the code that they started on. `#[handlers(version = 1)]` stands above a further `impl` block of the
/// type with the `async fn`s as they were, named as they were by `#[handler(name = "…")]`. It makes a type, `AccountV1`
/// for `Account`, to be given to `keep` when the server is built. The struct is the current one for all versions.
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
