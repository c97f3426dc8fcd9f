//! The last line of what a process wrote to standard error: where most programs, and Python with every exception, say why they
//! ended. Pure.

use crate::process::Captured;

/// In characters: more than that is no remark.
const LONGEST: usize = 300;

/// The last line that is not blank; None where there is none, or where it was not kept whole.
pub(crate) fn of(stderr: &Captured) -> Option<String> {
    let end = if stderr.tail.is_empty() { &stderr.head } else { &stderr.tail };
    let text = String::from_utf8_lossy(end);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let begins_in_a_gap = stderr.omitted_bytes() > 0 && !text.trim_end().contains('\n');
    if begins_in_a_gap {
        return None;
    }
    let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(match clean.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &clean[..at]),
        None => clean,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_last_line_that_says_something() {
        let of = |text: &str| of(&Captured::whole(text));
        assert_eq!(of(""), None);
        assert_eq!(of(" \n\n"), None);
        assert_eq!(of("one\n  two \r\n\n").as_deref(), Some("two"));
        assert_eq!(of("Traceback:\nValueError: \u{1b}[31mno").as_deref(), Some("ValueError:  [31mno"));
        let long = of(&"ä".repeat(400)).unwrap();
        assert_eq!(long, format!("{}...", "ä".repeat(300)));
    }

    #[test]
    fn test_what_was_cut_is_not_taken_for_a_line() {
        let cut = |tail: &str| Captured { head: b"begin".into(), tail: tail.into(), total_bytes: 1000 };
        assert_eq!(of(&cut("half a line\n")), None);
        assert_eq!(of(&cut("half\nwhole\n")).as_deref(), Some("whole"));
    }
}
