//! jq programs that change JSON.

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use serde_json::Value;

use crate::failure::Fault;

type Filter = jaq_core::compile::Filter<jaq_core::Native<data::JustLut<Val>>>;

/// A program, ready to run.
pub(crate) struct Program {
    filter: Filter,
}

impl Program {
    /// Compiles a program. `flag` is what it is called in errors.
    pub(crate) fn compile(flag: &str, source: &str) -> Result<Self, Fault> {
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let arena = Arena::default();
        let loaded = Loader::new(defs).load(&arena, File { code: source, path: () });
        let modules = loaded.map_err(|errors| {
            let told = errors.into_iter().map(|(_, error)| load_fault(source, error));
            broken(flag, told)
        })?;
        let filter = Compiler::default().with_funs(funs).compile(modules).map_err(|errors| {
            let told = errors.into_iter().flat_map(|(_, undefined)| undefined);
            let told = told.map(|(name, kind)| format!("there is no {} `{name}`", kind.as_str()));
            broken(flag, told)
        })?;
        Ok(Self { filter })
    }

    /// What the program makes of a value; `None` where it gives nothing.
    pub(crate) fn run(&self, input: &Value) -> Result<Option<Value>, String> {
        let input = read::parse_single(input.to_string().as_bytes()).map_err(|error| error.to_string())?;
        let context = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new([]));
        let mut outputs = self.filter.id.run((context, input)).map(unwrap_valr);
        let Some(first) = outputs.next() else { return Ok(None) };
        let first = first.map_err(|error| error.to_string())?;
        if outputs.next().is_some() {
            return Err("it gives more than one value; wrap them in `[..]`".to_owned());
        }
        let json = serde_json::from_str(&first.to_string());
        json.map(Some).map_err(|error| format!("what it gives is not JSON: {error}"))
    }
}

fn broken(flag: &str, told: impl Iterator<Item = String>) -> Fault {
    let told: Vec<_> = told.collect();
    Fault::new(format!("{flag} is no jq program: {}", told.join("; ")))
        .hint("write something like '.severity = \"info\"'")
}

fn load_fault(source: &str, error: jaq_core::load::Error<&str>) -> String {
    use jaq_core::load::Error;
    let told: Vec<String> = match error {
        Error::Io(errors) => errors.into_iter().map(|(path, error)| format!("{path}: {error}")).collect(),
        Error::Lex(errors) => errors
            .into_iter()
            .map(|(expected, rest)| format!("expected {} {}", expected.as_str(), place(source, rest)))
            .collect(),
        Error::Parse(errors) => errors
            .into_iter()
            .map(|(expected, rest)| format!("expected {} {}", expected.as_str(), place(source, rest)))
            .collect(),
    };
    told.join("; ")
}

/// Where in the source its rest begins, or the part that is `rest`.
fn place(source: &str, rest: &str) -> String {
    if rest.is_empty() {
        return "at its end".to_owned();
    }
    let begins = (rest.as_ptr() as usize).wrapping_sub(source.as_ptr() as usize);
    let before = source.get(..begins).unwrap_or_default();
    let shown: String = rest.chars().take(20).collect();
    format!("at character {} (`{shown}`)", before.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(program: &str, input: &Value) -> Result<Option<Value>, String> {
        Program::compile("--edit", program).map_err(|fault| fault.to_string())?.run(input)
    }

    #[test]
    fn test_programs_change_json() {
        let input = json!({"a": 1, "b": [1.5, "é", null, 9_007_199_254_740_993_i64]});
        assert_eq!(run(".", &input), Ok(Some(input.clone())));
        assert_eq!(run(".a += 1 | del(.b)", &input), Ok(Some(json!({"a": 2}))));
        assert_eq!(run("select(.a > 1)", &input), Ok(None));
        assert_eq!(
            run("[.b[] | numbers]", &input).map(|out| out.map(|out| out[0].clone())),
            Ok(Some(json!(1.5)))
        );
    }

    #[test]
    fn test_faults_are_told() {
        let told = |program: &str| run(program, &json!({"a": "x"})).unwrap_err();
        assert!(told(".a |").contains("--edit is no jq program: expected"), "{}", told(".a |"));
        assert!(told("nope(.a)").contains("there is no filter `nope"), "{}", told("nope(.a)"));
        assert!(told("(.a").contains("expected"), "{}", told("(.a"));
        assert!(told(".a, .a").contains("more than one value"));
        assert!(told(".a - 1").contains("x"), "{}", told(".a - 1"));
    }
}
