//! The engine: one set of limits, one store, and a fresh session for each question.
//!
//! In:    limits, the store, a cut.
//! Out:   sessions that see the cut's tables and views, and the H3 functions; nothing else.
//! Keeps: the memory pool, the spill folder's bound, the cache of footers.
//! Never: reaches another store, a file or an address; registers what a question asks it to.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::config::ConfigNonZeroUsize;
use datafusion::datasource::ViewTable;
use datafusion::execution::context::SessionState;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::TableType;
use datafusion::prelude::{SessionConfig, SessionContext};
use inzira_archive::Table;
use inzira_store::ObjectStore;
use url::Url;

use crate::cells::RangesOfCells;
use crate::guard::{NESTING_MAX, NOT_OFFERED};
use crate::h3;
use crate::table::{ArchiveTable, IN_LIST_MAX, STORE_URL};
use crate::view::View;
use crate::views;

/// The catalog's name.
const CATALOG: &str = "inzira";
/// The schema of every table.
const SCHEMA: &str = "public";
/// Footers and page indexes kept, in bytes.
const FOOTER_CACHE_BYTES: usize = 128 << 20;
/// The consumers named when memory runs out.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// What the engine may use, all questions together.
#[derive(Debug, Clone)]
pub struct EngineLimits {
    /// Bytes of memory for sorting, grouping and joining; beyond it operators spill, and those
    /// that cannot end with an error.
    pub memory_bytes: usize,
    /// Bytes of spill files; beyond it a question ends with an error.
    pub spill_bytes: u64,
    /// The folder of spill files; the system's own when absent.
    pub spill_folder: Option<PathBuf>,
    /// Threads, and partitions of a plan.
    pub threads: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            spill_bytes: 4 << 30,
            spill_folder: None,
            threads: std::thread::available_parallelism().map_or(2, NonZeroUsize::get),
        }
    }
}

/// The engine of one process.
#[derive(Debug)]
pub struct Engine {
    base: SessionState,
}

impl Engine {
    /// An engine over one store.
    pub fn new(store: Arc<dyn ObjectStore>, limits: &EngineLimits) -> Result<Arc<Self>> {
        let mode = limits.spill_folder.as_ref().map_or(DiskManagerMode::OsTmpDirectory, |folder| {
            DiskManagerMode::Directories(vec![folder.clone()])
        });
        let spill = DiskManagerBuilder::default()
            .with_mode(mode)
            .with_max_temp_directory_size(limits.spill_bytes);
        let memory =
            TrackConsumersPool::new(FairSpillPool::new(limits.memory_bytes), NAMED_CONSUMERS);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(memory))
            .with_disk_manager_builder(spill)
            .with_object_store_registry(Arc::new(OneStore(store)))
            .with_metadata_cache_limit(FOOTER_CACHE_BYTES)
            .build_arc()?;
        let context = SessionContext::new_with_config_rt(config(limits), runtime);
        for function in h3::functions() {
            context.register_udf(function);
        }
        context.add_optimizer_rule(Arc::new(RangesOfCells));
        for name in NOT_OFFERED {
            context.deregister_udf(name);
        }
        Ok(Arc::new(Self { base: context.state() }))
    }

    /// A session that sees one cut.
    pub fn session(self: &Arc<Self>, view: Arc<View>) -> SessionState {
        let tables = Arc::new(Tables { engine: Arc::clone(self), view });
        SessionStateBuilder::new_from_existing(self.base.clone())
            .with_catalog_list(Arc::new(Catalogs(Arc::new(Catalog(tables)))))
            .build()
    }
}

fn config(limits: &EngineLimits) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(limits.threads.max(1));
    let options = config.options_mut();
    options.optimizer.expand_views_at_output = true;
    // Grouping by cell or trip finds few repeats within a batch: give up on pre-grouping earlier.
    options.execution.skip_partial_aggregation_probe_ratio_threshold = 0.6;
    options.execution.parquet.max_in_list_size = IN_LIST_MAX;
    if let Ok(nesting) = ConfigNonZeroUsize::try_new(NESTING_MAX) {
        options.sql_parser.recursion_limit = nesting;
    }
    config
}

/// The one store there is.
#[derive(Debug)]
struct OneStore(Arc<dyn ObjectStore>);

impl ObjectStoreRegistry for OneStore {
    fn register_store(
        &self,
        _url: &Url,
        _store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if url.as_str().trim_end_matches('/') == STORE_URL {
            return Ok(Arc::clone(&self.0));
        }
        exec_err!("no address but the archive's own can be read")
    }
}

#[derive(Debug)]
struct Catalogs(Arc<Catalog>);

impl CatalogProviderList for Catalogs {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::clone(&self.0) as Arc<dyn CatalogProvider>)
    }
}

#[derive(Debug)]
struct Catalog(Arc<Tables>);

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == SCHEMA).then(|| Arc::clone(&self.0) as Arc<dyn SchemaProvider>)
    }
}

/// The tables and views of one cut.
#[derive(Debug)]
struct Tables {
    engine: Arc<Engine>,
    view: Arc<View>,
}

impl Tables {
    fn base(&self, name: &str) -> Option<ArchiveTable> {
        let table: Table = name.parse().ok()?;
        self.view.tables.get(&table).cloned().map(ArchiveTable::new)
    }

    async fn planned(&self, view: &views::View) -> Result<Arc<dyn TableProvider>> {
        let sql = (view.sql)();
        let session = self.engine.session(Arc::clone(&self.view));
        let plan = session.create_logical_plan(&sql).await?;
        Ok(Arc::new(ViewTable::new(plan, Some(sql))))
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.view.tables.keys().map(|table| table.name().to_owned()).collect();
        names.extend(
            views::VIEWS
                .iter()
                .filter(|view| view.reads.iter().all(|table| self.view.tables.contains_key(table)))
                .map(|view| view.name.to_owned()),
        );
        names.sort();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some(table) = self.base(name) {
            return Ok(Some(Arc::new(table)));
        }
        match views::view(name) {
            Some(view) => self.planned(view).await.map(Some),
            None => Ok(None),
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        if self.base(name).is_some() {
            return Ok(Some(TableType::Base));
        }
        Ok(views::view(name).map(|_| TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.base(name).is_some() || views::view(name).is_some()
    }
}
