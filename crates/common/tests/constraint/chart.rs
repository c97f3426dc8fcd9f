//! The charts of `docs/states.md`: one in mermaid's language for each status, under a heading that names the enum type.

use std::collections::BTreeSet;
use std::path::Path;

/// Where a status begins, and which may follow which.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chart {
    pub(crate) first: BTreeSet<String>,
    pub(crate) steps: BTreeSet<(String, String)>,
}

impl Chart {
    /// Every state that it mentions.
    pub(crate) fn states(&self) -> BTreeSet<String> {
        let both = self.steps.iter().flat_map(|(from, to)| [from, to]);
        self.first.iter().chain(both).cloned().collect()
    }

    /// The states that are reached from where it begins.
    pub(crate) fn reached(&self) -> BTreeSet<String> {
        let mut reached = self.first.clone();
        loop {
            let more: Vec<_> = self
                .steps
                .iter()
                .filter(|(from, _)| reached.contains(from))
                .map(|(_, to)| to.clone())
                .collect();
            let before = reached.len();
            reached.extend(more);
            if reached.len() == before {
                return reached;
            }
        }
    }

    /// Reads lines of `from --> to: why`, `[*]` before the first state.
    pub(crate) fn read(lines: &str) -> Result<Self, String> {
        let mut chart = Self::default();
        let lines =
            lines.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "stateDiagram-v2");
        for line in lines {
            let (from, rest) = line.split_once(" --> ").ok_or_else(|| format!("not an arrow: {line}"))?;
            let to = rest.split(':').next().unwrap_or_default().trim();
            let new = match from {
                "[*]" => chart.first.insert(to.to_owned()),
                state => chart.steps.insert((state.to_owned(), to.to_owned())),
            };
            if !new {
                return Err(format!("twice: {line}"));
            }
        }
        Ok(chart)
    }

    /// The chart of this enum type.
    pub(crate) fn of(type_name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/states.md");
        let text = std::fs::read_to_string(path).expect("docs/states.md can be read");
        let marked = format!("`{type_name}`");
        let mut sections = text
            .split("\n## ")
            .filter(|section| section.lines().next().is_some_and(|heading| heading.contains(&marked)));
        let section = sections.next().unwrap_or_else(|| {
            panic!("docs/states.md has no chart of {type_name}: add `## <Name>: {marked}` and a mermaid stateDiagram-v2")
        });
        assert!(sections.next().is_none(), "docs/states.md has two headings with {marked}");
        let charts: Vec<_> = section.split("```mermaid\n").skip(1).collect();
        let [chart] = charts[..] else {
            panic!("docs/states.md has {} charts of {type_name}, not one", charts.len());
        };
        let lines = chart.split("```").next().unwrap_or_default();
        Self::read(lines).unwrap_or_else(|fault| panic!("docs/states.md, {type_name}: {fault}"))
    }
}

#[test]
fn test_chart_is_read() {
    let chart =
        Chart::read("stateDiagram-v2\n    [*] --> a\n    a --> b: why: not\n    b --> a\n    c --> a\n")
            .unwrap();
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        (chart.first.clone(), chart.states(), chart.reached()),
        (set(&["a"]), set(&["a", "b", "c"]), set(&["a", "b"]))
    );
    assert_eq!(chart.steps.len(), 3);
    for wrong in ["a -> b", "a --> b\na --> b", "state a"] {
        Chart::read(wrong).unwrap_err();
    }
}
