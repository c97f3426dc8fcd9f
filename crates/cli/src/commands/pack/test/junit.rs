//! The outcome as JUnit XML, as CI systems read it.

use super::Outcome;

/// The report: a suite for each file of the pack.
pub(super) fn report(pack: &str, outcomes: &[Outcome]) -> String {
    let failed = |outcomes: &[&Outcome]| outcomes.iter().filter(|outcome| !outcome.passed).count();
    let seconds = |outcomes: &[&Outcome]| outcomes.iter().map(|outcome| outcome.seconds).sum::<f64>();
    let all: Vec<&Outcome> = outcomes.iter().collect();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml.push_str(&format!(
        "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" time=\"{:.3}\">\n",
        escaped(pack),
        all.len(),
        failed(&all),
        seconds(&all)
    ));
    for suite in all.chunk_by(|left, right| left.file == right.file) {
        let file = suite.first().map(|outcome| outcome.file.as_str()).unwrap_or_default();
        xml.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"0\" time=\"{:.3}\">\n",
            escaped(file),
            suite.len(),
            failed(suite),
            seconds(suite)
        ));
        for outcome in suite {
            xml.push_str(&format!(
                "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.3}\"",
                escaped(&outcome.subject),
                escaped(&outcome.case),
                escaped(file),
                outcome.line,
                outcome.seconds
            ));
            match outcome.failures.first() {
                None => xml.push_str("/>\n"),
                Some(first) => {
                    let message = first.lines().next().unwrap_or_default();
                    xml.push_str(&format!(
                        ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
                        escaped(message),
                        escaped(&outcome.failures.join("\n"))
                    ));
                }
            }
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// Text within XML 1.0, which has no place for most control characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_report_has_a_suite_for_each_file() {
        let outcome = |file: &str, failures: &[&str]| Outcome {
            file: file.to_owned(),
            line: 3,
            case: "a <b> & \"c\"\u{1}".to_owned(),
            subject: "ops.page".to_owned(),
            passed: failures.is_empty(),
            seconds: 0.5,
            failures: failures.iter().map(|&failure| failure.to_owned()).collect(),
        };
        let report =
            report("ops", &[outcome("tests/a.yaml", &[]), outcome("tests/b.yaml", &["x:\nexpected 1", "y"])]);
        let name = "a &lt;b&gt; &amp; &quot;c&quot;\u{fffd}";
        let case = |file: &str| {
            format!(
                "    <testcase classname=\"ops.page\" name=\"{name}\" file=\"tests/{file}.yaml\" line=\"3\" time=\"0.500\""
            )
        };
        let suite = |file: &str, failures: u8| {
            format!(
                "  <testsuite name=\"tests/{file}.yaml\" tests=\"1\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"0.500\">"
            )
        };
        let expected = [
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>".to_owned(),
            "<testsuites name=\"ops\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"1.000\">".to_owned(),
            suite("a", 0),
            case("a") + "/>",
            "  </testsuite>".to_owned(),
            suite("b", 1),
            case("b") + ">",
            "      <failure message=\"x:\">x:&#10;expected 1&#10;y</failure>".to_owned(),
            "    </testcase>".to_owned(),
            "  </testsuite>".to_owned(),
            "</testsuites>".to_owned(),
        ];
        assert_eq!(report.lines().collect::<Vec<_>>(), expected);
    }
}
