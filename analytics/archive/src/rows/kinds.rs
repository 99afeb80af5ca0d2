//! The kinds of column: how a value of the wire becomes a value of a builder.
//!
//! In:    one value of a decoded message.
//! Out:   one slot of an Arrow builder.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    StringBuilder, TimestampMicrosecondBuilder,
};

use crate::layout::{Kind, texts_item};

/// A kind of column.
pub(crate) trait ColumnKind {
    /// Its builder.
    type Builder: Send;
    /// What a message hands over.
    type Value<'a>;
    /// As the layout names it.
    const KIND: Kind;
    /// May be absent.
    const NULLABLE: bool;
    /// An empty builder.
    fn builder(capacity: usize) -> Self::Builder;
    /// Adds one value.
    fn append(builder: &mut Self::Builder, value: Self::Value<'_>);
    /// The column.
    fn finish(builder: &mut Self::Builder) -> ArrayRef;
}

/// Bytes that a text column is given room for at first.
const TEXT_BYTES: usize = 16;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $builder:ty, $value:ty, $kind:ident, $nullable:literal,
       $new:expr, $append:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl ColumnKind for $name {
            type Builder = $builder;
            type Value<'a> = $value;
            const KIND: Kind = Kind::$kind;
            const NULLABLE: bool = $nullable;
            fn builder(capacity: usize) -> $builder {
                let new: fn(usize) -> $builder = $new;
                new(capacity)
            }
            fn append(builder: &mut $builder, value: Self::Value<'_>) {
                let append: for<'a> fn(&mut $builder, $value) = $append;
                append(builder, value);
            }
            fn finish(builder: &mut $builder) -> ArrayRef {
                Arc::new(builder.finish())
            }
        }
    )*};
}

kinds! {
    /// A text that is always there.
    Text: StringBuilder, &'a str, Text, false,
        |n| StringBuilder::with_capacity(n, n * TEXT_BYTES), |b, v| b.append_value(v);
    /// A text; the empty one is null.
    OptText: StringBuilder, &'a str, Text, true,
        |n| StringBuilder::with_capacity(n, n), |b, v| b.append_option((!v.is_empty()).then_some(v));
    /// Microseconds UTC.
    Instant: TimestampMicrosecondBuilder, i64, Instant, false,
        |n| TimestampMicrosecondBuilder::with_capacity(n).with_timezone("UTC"), |b, v| b.append_value(v);
    /// A signed 64-bit number.
    Int: Int64Builder, i64, Int, false, Int64Builder::with_capacity, |b, v| b.append_value(v);
    /// A signed 64-bit number that may be absent.
    OptInt: Int64Builder, Option<i64>, Int, true,
        Int64Builder::with_capacity, |b, v| b.append_option(v);
    /// A small count; beyond 2^31 - 1 it stays there.
    Small: Int32Builder, u32, Small, false,
        Int32Builder::with_capacity, |b, v| b.append_value(i32::try_from(v).unwrap_or(i32::MAX));
    /// A double.
    Float: Float64Builder, f64, Float, false,
        Float64Builder::with_capacity, |b, v| b.append_value(v);
    /// A double that may be absent.
    OptFloat: Float64Builder, Option<f64>, Float, true,
        Float64Builder::with_capacity, |b, v| b.append_option(v);
    /// True or false.
    Flag: BooleanBuilder, bool, Flag, false,
        BooleanBuilder::with_capacity, |b, v| b.append_value(v);
    /// Texts.
    Texts: ListBuilder<StringBuilder>, &'a [String], Texts, false,
        |n| ListBuilder::with_capacity(StringBuilder::with_capacity(n, n * TEXT_BYTES), n)
            .with_field(texts_item()),
        |b, v| {
            for text in v {
                b.values().append_value(text);
            }
            b.append(true);
        };
}
