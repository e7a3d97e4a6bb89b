//! Legs of a matrix. Source: GitHub's documentation, "Using a matrix for your jobs".

use pipeline::yaml::{Node, Value as Yaml};
use serde_json::{Map, Value};

/// The most legs that the host runs.
const MAX_LEGS: usize = 256;

/// Returns the legs, of which there is one, empty, where there is no matrix.
///
/// # Errors
/// What the matrix depends on, where only a run knows it.
pub(super) fn legs(matrix: Option<&Node>) -> Result<Vec<Value>, String> {
    let Some(matrix) = matrix else { return Ok(vec![Value::Object(Map::new())]) };
    if let Some(text) = matrix.text() {
        return Err(format!("the matrix is `{text}`, which only a run knows"));
    }
    let mut legs = vec![Map::new()];
    for (key, values) in matrix.entries() {
        let Some(name) = key.text().filter(|name| !matches!(*name, "include" | "exclude")) else { continue };
        if let Some(text) = values.text().filter(|text| text.contains("${{")) {
            return Err(format!("`{name}` of the matrix is `{text}`, which only a run knows"));
        }
        legs = product(&legs, name, values.items());
        if legs.len() > MAX_LEGS {
            return Err(format!("the matrix has more than {MAX_LEGS} legs"));
        }
    }
    let excluded = objects(matrix.get("exclude"));
    legs.retain(|leg| !excluded.iter().any(|excluded| contains(leg, excluded)));
    if legs.len() == 1 && legs[0].is_empty() {
        legs.clear();
    }
    include(&mut legs, objects(matrix.get("include")));
    legs.truncate(MAX_LEGS);
    Ok(legs.into_iter().map(Value::Object).collect())
}

fn product(legs: &[Map<String, Value>], name: &str, values: &[Node]) -> Vec<Map<String, Value>> {
    let mut product = Vec::new();
    for leg in legs {
        for value in values {
            let mut leg = leg.clone();
            leg.insert(name.to_owned(), json(value));
            product.push(leg);
            if product.len() > MAX_LEGS {
                return product;
            }
        }
    }
    product
}

/// Adds to every leg that it does not contradict, or else a leg of its own.
fn include(legs: &mut Vec<Map<String, Value>>, included: Vec<Map<String, Value>>) {
    let originals = legs.clone();
    for extra in included {
        let mut is_added = false;
        for (leg, original) in legs.iter_mut().zip(&originals) {
            let fits = extra.iter().all(|(key, value)| original.get(key).is_none_or(|own| own == value));
            if fits {
                leg.extend(extra.clone());
                is_added = true;
            }
        }
        if !is_added && legs.len() < MAX_LEGS {
            legs.push(extra);
        }
    }
}

fn contains(leg: &Map<String, Value>, part: &Map<String, Value>) -> bool {
    part.iter().all(|(key, value)| leg.get(key) == Some(value))
}

fn objects(node: Option<&Node>) -> Vec<Map<String, Value>> {
    let items = node.map(Node::items).unwrap_or_default();
    items.iter().filter_map(|item| json(item).as_object().cloned()).take(MAX_LEGS).collect()
}

/// Returns YAML as JSON; what looks like a number or a truth value is one.
pub(super) fn json(node: &Node) -> Value {
    match &node.value {
        Yaml::Mapping(entries) => {
            let pair = |(key, value): &(Node, Node)| Some((key.text()?.to_owned(), json(value)));
            Value::Object(entries.iter().filter_map(pair).collect())
        }
        Yaml::Sequence(items) => Value::Array(items.iter().map(json).collect()),
        Yaml::Quoted(text) => Value::from(text.as_str()),
        Yaml::Plain(_) if node.is_null() => Value::Null,
        Yaml::Plain(text) => match (node.truth(), text.parse::<i64>(), text.parse::<f64>()) {
            (Some(flag), ..) => Value::Bool(flag),
            (_, Ok(number), _) => Value::from(number),
            (_, _, Ok(number)) if number.is_finite() => Value::from(number),
            _ => Value::from(text.as_str()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(matrix: &str, expected: &[&str]) {
        let node = pipeline::yaml::read(matrix).unwrap();
        let found: Vec<String> = legs(Some(&node)).unwrap().iter().map(Value::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn legs_of_matrices() {
        check("{a: [1, x], b: [true]}", &[r#"{"a":1,"b":true}"#, r#"{"a":"x","b":true}"#]);
        check("{a: [1, 2], exclude: [{a: 1}]}", &[r#"{"a":2}"#]);
        check("{include: [{a: 1}, {a: 2, b: '3'}]}", &[r#"{"a":1}"#, r#"{"a":2,"b":"3"}"#]);
        check(
            "{a: [1, 2], include: [{a: 1, c: x}, {a: 9}]}",
            &[r#"{"a":1,"c":"x"}"#, r#"{"a":2}"#, r#"{"a":9}"#],
        );
        check("{image: [{name: api}]}", &[r#"{"image":{"name":"api"}}"#]);
    }

    #[test]
    fn what_only_a_run_knows_and_what_is_too_much() {
        let error = |text: &str| legs(Some(&pipeline::yaml::read(text).unwrap())).unwrap_err();
        assert!(error("${{ fromJSON(needs.plan.outputs.matrix) }}").contains("only a run knows"));
        assert!(error("{a: '${{ fromJSON(x) }}'}").contains("`a` of the matrix"));
        let many = vec!["1"; 300].join(", ");
        assert!(error(&format!("{{a: [{many}]}}")).contains("more than 256"));
        assert_eq!(legs(None).unwrap(), [serde_json::json!({})]);
    }
}
