//! Sets.

use std::sync::Arc;

use super::{Call, Function, Want, Wrong, function, variadic, wrong};
use crate::bake::convert::{convert, set_of, unify};
use crate::bake::value::{Type, Value};

const FIRST: &[super::Parameter] = &[("first_set", Want::Set)];
const OTHERS: super::Parameter = ("other_sets", Want::Set);

/// More combinations than this are refused.
const MOST_PRODUCTS: usize = 100_000;

pub(super) const FUNCTIONS: &[Function] = &[
    function("sethaselement", &[("set", Want::Set), ("elem", Want::Any)], |call| {
        Ok(Value::Bool(call.items(0).iter().any(|item| item.equals(&call.arguments[1]))))
    }),
    variadic("setunion", FIRST, OTHERS, |call| {
        let (kind, sets) = sets(call)?;
        Ok(set_of(kind, sets.concat()))
    }),
    variadic("setintersection", FIRST, OTHERS, |call| {
        let (kind, sets) = sets(call)?;
        let in_all = |item: &&Value| sets.iter().all(|set| set.contains(item));
        Ok(set_of(kind, sets[0].iter().filter(in_all).cloned().collect()))
    }),
    function("setsubtract", &[("a", Want::Set), ("b", Want::Set)], |call| {
        let (kind, sets) = sets(call)?;
        Ok(set_of(kind, sets[0].iter().filter(|item| !sets[1].contains(item)).cloned().collect()))
    }),
    variadic("setsymmetricdifference", FIRST, OTHERS, |call| {
        let (kind, sets) = sets(call)?;
        let mut difference: Vec<Value> = Vec::new();
        for set in &sets {
            let (both, fresh): (Vec<Value>, Vec<Value>) =
                set.iter().cloned().partition(|item| difference.contains(item));
            difference.retain(|item| !both.contains(item));
            difference.extend(fresh);
        }
        Ok(set_of(kind, difference))
    }),
    variadic("setproduct", &[], ("sets", Want::Any), product),
];

/// Returns the arguments as sets of one type.
fn sets(call: &Call<'_>) -> Result<(Type, Vec<Vec<Value>>), Wrong> {
    let kind = unify(call.arguments.iter().map(Value::kind))
        .ok_or("given sets must all have compatible element types")?;
    let Type::Set(of) = &kind else { return Err("sets are required".into()) };
    let one = |value: &Value| Ok::<_, Wrong>(convert(value, &kind)?.items().unwrap_or_default().to_vec());
    Ok(((**of).clone(), call.arguments.iter().map(one).collect::<Result<_, _>>()?))
}

fn product(call: &Call<'_>) -> Result<Value, Wrong> {
    if call.arguments.len() < 2 {
        return Err("at least two arguments are required".into());
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for (at, value) in call.arguments.iter().enumerate() {
        let items = value.items().ok_or_else(|| wrong(at, "a set or a list is required"))?;
        if rows.len().saturating_mul(items.len()) > MOST_PRODUCTS {
            return Err(format!("there are more than {MOST_PRODUCTS} combinations").into());
        }
        let with = |row: &Vec<Value>| {
            items.iter().map(|item| [&row[..], std::slice::from_ref(item)].concat()).collect::<Vec<_>>()
        };
        rows = rows.iter().flat_map(with).collect();
    }
    let all_sets = call.arguments.iter().all(|value| matches!(value, Value::Set(..)));
    let rows: Vec<Value> = rows.into_iter().map(Value::tuple).collect();
    let kind = rows.first().map_or(Type::Any, Value::kind);
    Ok(if all_sets { set_of(kind, rows) } else { Value::List(kind, Arc::new(rows)) })
}
