//! All services bound into one process.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entity::{Executor, Handlers, KeptHandlers};
use crate::service::Executable;

/// All bound services by name. Cloning shares them.
#[derive(Clone, Default)]
pub struct Registry {
    services: Arc<BTreeMap<String, Arc<dyn Executable>>>,
    /// Code of earlier versions, by service and version.
    kept: Arc<BTreeMap<(String, String), Arc<dyn Executable>>>,
}

/// No such service or handler is bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownTarget {
    /// No service of this name.
    #[error("service `{name}` is not bound; bind it when building the server, or check the spelling")]
    Service {
        /// The name that was asked for.
        name: String,
    },
    /// The service has no handler of this name.
    #[error("service `{service}` has no handler `{name}`")]
    Handler {
        /// The service, which exists.
        service: String,
        /// The name that was asked for.
        name: String,
    },
}

impl Registry {
    /// A registry to be filled.
    #[must_use]
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// The service of this name.
    #[must_use]
    pub fn get(&self, service: &str) -> Option<&Arc<dyn Executable>> {
        self.services.get(service)
    }

    /// The code of a version: the current one, or one that is kept beside it for flows that started on it.
    #[must_use]
    pub fn version(&self, service: &str, version: &str) -> Option<&Arc<dyn Executable>> {
        let current = self.get(service).filter(|current| current.descriptor().version == version);
        current.or_else(|| self.kept.get(&(service.to_owned(), version.to_owned())))
    }

    /// Versions that are kept beside the current ones, by service and version.
    pub fn kept(&self) -> impl Iterator<Item = &Arc<dyn Executable>> {
        self.kept.values()
    }

    /// The service and the number of its handler.
    ///
    /// # Errors
    /// [`UnknownTarget`] naming what is missing.
    pub fn handler(&self, service: &str, handler: &str) -> Result<(Arc<dyn Executable>, usize), UnknownTarget> {
        let found = self.get(service).ok_or_else(|| UnknownTarget::Service { name: service.to_owned() })?;
        let index = found.descriptor().handlers.iter().position(|known| known.name == handler);
        let index =
            index.ok_or_else(|| UnknownTarget::Handler { service: service.to_owned(), name: handler.to_owned() })?;
        Ok((Arc::clone(found), index))
    }

    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<dyn Executable>> {
        self.services.values()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.services.keys()).finish()
    }
}

/// Collects services for a [`Registry`]. A later service replaces an earlier one of the same name.
#[derive(Default)]
pub struct RegistryBuilder {
    services: BTreeMap<String, Arc<dyn Executable>>,
    kept: BTreeMap<(String, String), Arc<dyn Executable>>,
}

impl RegistryBuilder {
    /// Adds the object, service or workflow `T`.
    #[must_use]
    pub fn bind<T: Handlers>(self) -> Self {
        self.with(Arc::new(Executor::<T>::new()))
    }

    /// Adds the un-keyed service `T`, whose instances are made by `make`: the way to give a service what it needs, such
    /// as a connection pool.
    #[must_use]
    pub fn bind_with<T: Handlers + crate::Service>(self, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        self.with(Arc::new(Executor::with(move |_| Ok(make()))))
    }

    /// Adds an erased service.
    #[must_use]
    pub fn with(mut self, service: Arc<dyn Executable>) -> Self {
        self.services.insert(service.descriptor().name.clone(), service);
        self
    }

    /// Keeps `T`, code of an earlier version, beside the current one: only flows that started on that version run it.
    #[must_use]
    pub fn keep<T: KeptHandlers>(self) -> Self {
        self.keep_with(Arc::new(Executor::<T>::new()))
    }

    /// As [`RegistryBuilder::keep`], erased: only flows that started on it run it.
    #[must_use]
    pub fn keep_with(mut self, service: Arc<dyn Executable>) -> Self {
        let descriptor = service.descriptor();
        self.kept.insert((descriptor.name.clone(), descriptor.version.clone()), service);
        self
    }

    /// The registry.
    #[must_use]
    pub fn build(self) -> Registry {
        Registry { services: Arc::new(self.services), kept: Arc::new(self.kept) }
    }
}
