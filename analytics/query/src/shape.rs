//! How the engine sees a table of the archive: the layout's columns, with texts as views.
//!
//! In:    a table of the layout, batches as the layout decodes them.
//! Out:   schemas for the scan, batches that fit them.
//! Never: adds, drops or renames a column.
//!
//! Texts are `Utf8View` inside the engine (grouping and reading them copies nothing) and become
//! plain `Utf8` again in every answer.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::datasource::table_schema::TableSchema;
use inzira_archive::{EVENT_DATE, Table};

/// A table's schemas, made once.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Which table.
    pub table: Table,
    /// The columns of the data files, then `event_date`.
    pub schema: SchemaRef,
    /// The same, told apart for the scan.
    pub scan: TableSchema,
}

impl Shape {
    /// The shape of one table.
    pub fn of(table: Table) -> Self {
        let columns: Vec<FieldRef> = table.file_schema().fields().iter().map(viewed).collect();
        let file = Arc::new(Schema::new(columns));
        let date = Arc::new(Field::new(EVENT_DATE, DataType::Utf8View, false));
        let scan = TableSchema::builder(file).with_table_partition_cols(vec![date]).build();
        Self { table, schema: Arc::clone(scan.table_schema()), scan }
    }

    /// A batch of the layout (with `event_date`) as the engine holds it.
    pub fn fit(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| {
                if column.data_type() == field.data_type() {
                    Ok(Arc::clone(column))
                } else {
                    cast(column, field.data_type())
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

fn viewed(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}
