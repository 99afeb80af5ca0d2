//! A table of the archive for the engine: committed files and the log's tail as one.
//!
//! In:    one table of one cut.
//! Out:   a scan: the files that can hold a wanted row, read through the cache of footers, and
//!        the rows in memory.
//! Keeps: nothing; the cut keeps what a question holds.
//! Never: lists a folder: the files are those of the version whose offsets the tail begins at.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::{DFSchema, Result, ScalarValue, Statistics, internal_err};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::TryStreamExt;
use inzira_archive::rows::DAY_US;

use crate::repeats::{instants, row_keys};
use crate::source::DataFile;
use crate::tail::Doubtful;
use crate::view::TableView;

/// By this address the engine knows the store; it knows no other.
pub const STORE_URL: &str = "inzira://archive";

/// A list of cells or ids skips files and row groups up to this length.
pub const IN_LIST_MAX: usize = 200;

/// The first read of a file takes this much of its end: footer and page index at once.
const FOOTER_BYTES: usize = 512 * 1024;

/// A table of one cut.
#[derive(Debug)]
pub struct ArchiveTable {
    view: TableView,
}

impl ArchiveTable {
    /// The table.
    pub fn new(view: TableView) -> Self {
        Self { view }
    }

    /// The plan over the committed files that can hold a row wanted by `filters`.
    fn files_plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let predicate = self.predicate(state, filters)?;
        let files = self.wanted_files(predicate.as_ref());
        if files.is_empty() {
            return Ok(None);
        }
        let statistics: Vec<&Statistics> =
            files.iter().filter_map(|file| file.statistics.as_deref()).collect();
        let statistics = Statistics::try_merge_iter(statistics, &self.view.shape.schema)?;
        let source = self.parquet_source(state, predicate, filters)?;
        let partitions = state.config().target_partitions();
        let config =
            FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE_URL)?, Arc::new(source))
                .with_file_groups(FileGroup::new(files).split_files(partitions))
                .with_statistics(statistics)
                .with_limit(if filters.is_empty() { limit } else { None })
                .with_projection_indices(projection.cloned())?
                .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }

    fn predicate(
        &self,
        state: &dyn Session,
        filters: &[Expr],
    ) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let Some(filter) = conjunction(filters.to_vec()) else { return Ok(None) };
        let schema = DFSchema::try_from(Arc::clone(&self.view.shape.schema))?;
        state.create_physical_expr(filter, &schema).map(Some)
    }

    fn parquet_source(
        &self,
        state: &dyn Session,
        predicate: Option<Arc<dyn PhysicalExpr>>,
        filters: &[Expr],
    ) -> Result<ParquetSource> {
        let mut options = TableParquetOptions::default();
        options.global = state.config().options().execution.parquet.clone();
        let store = state.runtime_env().object_store(ObjectStoreUrl::parse(STORE_URL)?)?;
        let footers = state.runtime_env().cache_manager.get_file_metadata_cache();
        let lookup = looks_up_ids(filters);
        let mut source = ParquetSource::new(self.view.shape.scan.clone())
            .with_table_parquet_options(options)
            .with_metadata_size_hint(FOOTER_BYTES)
            .with_pushdown_filters(lookup)
            .with_reorder_filters(lookup)
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(
                store, footers,
            )));
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        Ok(source)
    }

    fn wanted_files(&self, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Vec<PartitionedFile> {
        let files: Vec<PartitionedFile> =
            self.view.snapshot.files.iter().map(partitioned).collect();
        let Some(predicate) = predicate else { return files };
        let schema = Arc::clone(&self.view.shape.schema);
        let statistics = files
            .iter()
            .map(|file| {
                let unknown = || Arc::new(Statistics::new_unknown(&schema));
                file.statistics.clone().unwrap_or_else(unknown)
            })
            .collect();
        let bounds = PrunableStatistics::new(statistics, Arc::clone(&schema));
        // A predicate that says nothing about bounds skips nothing.
        let wanted = PruningPredicateBuilder::new()
            .with_file_schema(schema)
            .with_max_in_list_size(IN_LIST_MAX)
            .try_build(Arc::clone(predicate))
            .and_then(|pruning| pruning.prune(&bounds))
            .unwrap_or_else(|_| vec![true; files.len()]);
        files.into_iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(file, _)| file).collect()
    }

    /// The rows of the tail, doubtful ones cleared against the committed files.
    async fn tail(&self, state: &dyn Session) -> Result<Vec<RecordBatch>> {
        let open: Vec<&Arc<Doubtful>> =
            self.view.doubtful.iter().filter(|part| part.cleared.get().is_none()).collect();
        if !open.is_empty() {
            self.clear(state, &open).await?;
        }
        let cleared = self.view.doubtful.iter().filter_map(|part| part.cleared.get());
        Ok(self.view.certain.iter().chain(cleared).cloned().collect())
    }

    /// Takes the rows that a committed row repeats out of the doubtful parts, in one reading of
    /// the files. Every part is decided once, for every question that holds it.
    async fn clear(&self, state: &dyn Session, parts: &[&Arc<Doubtful>]) -> Result<()> {
        let table = self.view.shape.table;
        let batch = concat_batches(&self.view.shape.schema, parts.iter().map(|part| part.batch()))?;
        let mut by_key: HashMap<u64, Vec<usize>> = HashMap::new();
        for (row, keys) in row_keys(table, &batch).iter().enumerate() {
            for key in keys.iter() {
                by_key.entry(key).or_default().push(row);
            }
        }
        let mut new = vec![true; batch.num_rows()];
        for plan in self.twins_plans(state, &batch)? {
            let mut committed = execute_stream(plan, state.task_ctx())?;
            while let Some(rows) = committed.try_next().await? {
                for key in row_keys(table, &rows).iter().flat_map(|keys| keys.iter()) {
                    for row in by_key.get(&key).into_iter().flatten() {
                        new[*row] = false;
                    }
                }
            }
        }
        let mut from = 0;
        for part in parts {
            let rows = part.batch().num_rows();
            let keep = BooleanArray::from(new[from..from + rows].to_vec());
            // Another question may have decided it meanwhile, to the same end.
            let _ = part.cleared.set(filter_record_batch(part.batch(), &keep)?);
            from += rows;
        }
        Ok(())
    }

    /// The keys of the committed rows that could be repeated by one of `batch`. The same event
    /// has the same instant; another key may repeat anywhere on the same date.
    fn twins_plans(
        &self,
        state: &dyn Session,
        batch: &RecordBatch,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let table = self.view.shape.table;
        let at = instants(table, batch);
        let (Some(first), Some(last)) = (at.iter().min(), at.iter().max()) else {
            return Ok(Vec::new());
        };
        let mut plans = Vec::new();
        for (index, set) in table.key_columns().iter().enumerate() {
            let nameless = set
                .iter()
                .any(|name| batch.column_by_name(name).is_none_or(|c| c.null_count() == c.len()));
            if nameless {
                continue;
            }
            let (from, to) = if index == 0 {
                (*first, *last)
            } else {
                (first.div_euclid(DAY_US) * DAY_US, last.div_euclid(DAY_US) * DAY_US + DAY_US - 1)
            };
            plans.extend(self.keys_plan(state, set, from, to)?);
        }
        Ok(plans)
    }

    /// One key set and the date column of the committed rows between two instants.
    fn keys_plan(
        &self,
        state: &dyn Session,
        set: &[&str],
        from_us: i64,
        to_us: i64,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let date_column = self.view.shape.table.date_column();
        let projection = set
            .iter()
            .chain([&date_column])
            .map(|name| self.view.shape.schema.index_of(name))
            .collect::<Result<Vec<_>, _>>()?;
        let instant = |us: i64| {
            Expr::Literal(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())), None)
        };
        let within =
            datafusion::prelude::ident(date_column).between(instant(from_us), instant(to_us));
        self.files_plan(state, Some(&projection), &[within], None)
    }
}

#[async_trait]
impl TableProvider for ArchiveTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.view.shape.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !self.view.was_read {
            return internal_err!("{} is not part of this cut", self.view.shape.table);
        }
        let mut inputs = Vec::new();
        inputs.extend(self.files_plan(state, projection, filters, limit)?);
        let tail = self.tail(state).await?;
        if tail.iter().any(|batch| batch.num_rows() > 0) {
            let schema = Arc::clone(&self.view.shape.schema);
            let plan = MemorySourceConfig::try_new_exec(&[tail], schema, projection.cloned())?;
            inputs.push(plan);
        }
        if inputs.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.view.shape.schema.project(columns)?),
                None => Arc::clone(&self.view.shape.schema),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        UnionExec::try_new(inputs)
    }
}

fn partitioned(file: &DataFile) -> PartitionedFile {
    PartitionedFile::new(file.path.clone(), file.size_bytes)
        .with_partition_values(vec![ScalarValue::Utf8View(Some(file.event_date.clone()))])
        .with_statistics(Arc::clone(&file.statistics))
}

/// True for look-ups by an id: there, filters are worth evaluating while decoding (late
/// materialisation); on scans that group, they cost more than they save.
fn looks_up_ids(filters: &[Expr]) -> bool {
    filters.iter().any(|filter| match filter {
        Expr::BinaryExpr(binary) if binary.op == datafusion::logical_expr::Operator::Eq => {
            [&binary.left, &binary.right].into_iter().any(|side| is_id(side))
        }
        Expr::InList(list) => !list.negated && is_id(&list.expr),
        _ => false,
    })
}

fn is_id(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name.ends_with("_id"))
}
