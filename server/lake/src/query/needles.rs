//! "This value in one column or that": one needle a column instead of an OR that no bloom filter answers.
//!
//! A filter rules a row group out where one column cannot hold a value. Of `src = a OR dst = a` it says nothing, and every page of both columns would be
//! read. Scanned once a column, each scan reads the few row groups that may hold its own; rows that match both are left to the first.

use std::sync::Arc;

use datafusion::{
    catalog::Session,
    common::{Result, ToDFSchema},
    logical_expr::{BinaryExpr, Expr, Operator},
    physical_plan::{ExecutionPlan, filter::FilterExec},
};
use picket_event::columns;

/// Each one scans the files again; with more, reading everything once is no worse.
const COLUMNS_MAX: usize = 4;

/// The parts of an OR over several columns with a bloom filter, made disjoint; together they are as true as `filter`. `None` where it is not one.
pub(super) fn alternatives(filter: &Expr) -> Option<Vec<Expr>> {
    let mut by_column: Vec<(&str, Expr)> = Vec::new();
    collect(filter, &mut by_column)?;
    if !(2..=COLUMNS_MAX).contains(&by_column.len()) {
        return None;
    }
    let mut disjoint = Vec::with_capacity(by_column.len());
    let mut before: Option<Expr> = None;
    for (_, part) in by_column {
        let (alone, either) = match before {
            Some(before) => (part.clone().and(before.clone().is_not_true()), before.or(part)),
            None => (part.clone(), part),
        };
        disjoint.push(alone);
        before = Some(either);
    }
    Some(disjoint)
}

/// Sorts the equalities of an OR by their column.
fn collect<'a>(filter: &'a Expr, by_column: &mut Vec<(&'a str, Expr)>) -> Option<()> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    match op {
        Operator::Or => {
            collect(left, by_column)?;
            collect(right, by_column)
        }
        Operator::Eq => {
            let column = match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), Expr::Literal(..)) | (Expr::Literal(..), Expr::Column(column)) => column,
                _ => return None,
            };
            columns::by_name(&column.name).filter(|column| column.needle)?;
            match by_column.iter_mut().find(|(name, _)| *name == column.name) {
                Some((_, part)) => *part = part.clone().or(filter.clone()),
                None => by_column.push((&column.name, filter.clone())),
            }
            Some(())
        }
        _ => None,
    }
}

/// The rows of a scan for which a filter is true. The optimizer moves it into the Parquet reader.
pub(super) fn of(state: &dyn Session, filter: Expr, scan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let predicate = state.create_physical_expr(filter, &scan.schema().to_dfschema()?)?;
    Ok(Arc::new(FilterExec::try_new(predicate, scan)?))
}

#[cfg(test)]
mod tests {
    use datafusion::{logical_expr::lit, prelude::col};

    use super::*;

    fn texts(filter: &Expr) -> Option<Vec<String>> {
        Some(alternatives(filter)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_or_over_needles_is_one_scan_a_column() {
        let (src, dst) = (col("src_endpoint_ip"), col("dst_endpoint_ip"));
        assert_eq!(
            texts(&src.clone().eq(lit("a")).or(dst.clone().eq(lit("a")))).unwrap(),
            ["src_endpoint_ip = Utf8(\"a\")", "dst_endpoint_ip = Utf8(\"a\") AND src_endpoint_ip = Utf8(\"a\") IS NOT TRUE"]
        );
        let two_values = src.clone().eq(lit("a")).or(lit("b").eq(src.clone())).or(dst.clone().eq(lit("a")));
        assert_eq!(texts(&two_values).unwrap().len(), 2);
    }

    #[test]
    fn anything_else_is_left_alone() {
        let src = col("src_endpoint_ip");
        for other in [
            src.clone().eq(lit("a")),
            src.clone().eq(lit("a")).or(src.clone().eq(lit("b"))),
            src.clone().eq(lit("a")).or(col("severity_id").eq(lit(5))),
            src.clone().eq(lit("a")).or(col("dst_endpoint_ip").eq(src.clone())),
            src.clone().eq(lit("a")).or(col("dst_endpoint_ip").not_eq(lit("a"))),
            src.clone().eq(lit("a")).and(col("dst_endpoint_ip").eq(lit("a"))),
        ] {
            assert_eq!(texts(&other), None, "{other}");
        }
    }
}
