//! Making every plan stop when it must.
//!
//! A query is cancelled by dropping its stream, which works when its operators give the thread back now and then. Sources do; a join may make rows out of
//! rows for minutes without asking a source again, or evaluate its condition billions of times without making one. So the output of every operator that
//! multiplies rows counts against the task's budget, and every condition of a join looks at the clock.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Instant,
};

use datafusion::{
    arrow::datatypes::DataType,
    common::{
        DataFusionError, Result,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{
        ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, expr::ScalarFunction, logical_plan::Join,
    },
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{ExecutionPlan, coop::CooperativeExec},
};
use tokio_util::sync::CancellationToken;

/// Functions that make a text or list as long as their argument says, in one allocation that no memory pool sees.
pub(super) const REFUSED_FUNCTIONS: &[&str] =
    &["repeat", "lpad", "rpad", "array_repeat", "list_repeat", "array_resize", "list_resize", "range", "generate_series", "gen_series"];

/// When a query must end.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) cancelled: CancellationToken,
    pub(super) deadline: Instant,
}

impl Bound {
    fn check(&self) -> Result<()> {
        if self.cancelled.is_cancelled() || Instant::now() >= self.deadline {
            return Err(DataFusionError::ResourcesExhausted("the query must end".into()));
        }
        Ok(())
    }
}

/// Wraps the condition of every join.
#[derive(Debug)]
pub(super) struct BoundJoins(pub(super) Bound);

impl OptimizerRule for BoundJoins {
    fn name(&self) -> &str {
        "bound_joins"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Join(Join { filter: Some(filter), left, right, on, join_type, join_constraint, schema, null_equality, null_aware })
                if !is_wrapped(&filter) =>
            {
                let function = ScalarUDF::new_from_impl(Within { bound: self.0.clone(), signature: Signature::any(1, Volatility::Volatile) });
                let filter = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![filter]));
                Ok(Transformed::yes(LogicalPlan::Join(Join {
                    filter: Some(filter),
                    left,
                    right,
                    on,
                    join_type,
                    join_constraint,
                    schema,
                    null_equality,
                    null_aware,
                })))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

const WITHIN: &str = "within_bounds";

fn is_wrapped(filter: &Expr) -> bool {
    matches!(filter, Expr::ScalarFunction(call) if call.func.name() == WITHIN)
}

/// Its argument, unless the query must end.
#[derive(Debug)]
struct Within {
    bound: Bound,
    signature: Signature,
}

impl PartialEq for Within {
    fn eq(&self, other: &Self) -> bool {
        self.bound.deadline == other.bound.deadline
    }
}

impl Eq for Within {}

impl Hash for Within {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bound.deadline.hash(state);
    }
}

impl ScalarUDFImpl for Within {
    fn name(&self) -> &str {
        WITHIN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.bound.check()?;
        arguments.args.into_iter().next().ok_or_else(|| DataFusionError::Internal("a condition is missing".into()))
    }
}

/// Lets every operator that multiplies rows give the thread back.
#[derive(Debug)]
pub(super) struct YieldingJoins;

impl PhysicalOptimizerRule for YieldingJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let wrapped = plan.transform_up(|plan| {
            let name = plan.name();
            if name.contains("Join") || matches!(name, "UnnestExec" | "RecursiveQueryExec") {
                return Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>));
            }
            Ok(Transformed::no(plan))
        })?;
        Ok(wrapped.data)
    }

    fn name(&self) -> &str {
        "yielding_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
