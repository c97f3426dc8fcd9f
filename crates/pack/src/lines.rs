//! The lines of a text, to tell where a piece of it ends.

use serde_saphyr::Location;

use crate::finding::End;
use crate::yaml::Position;

/// Where the lines of a text begin and how long they are, in characters.
///
/// A place is found without looking at the text again: aliases may repeat a long text very often.
#[derive(Debug)]
pub(crate) struct Lines {
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    start: u64,
    /// Without the line break and the blanks before it.
    width: u64,
}

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        let mut start = 0;
        let line = |line: &str| {
            let begin = start;
            start += line.chars().count() as u64;
            Line { start: begin, width: line.trim_end().chars().count() as u64 }
        };
        let mut lines: Vec<Line> = text.split_inclusive('\n').map(line).collect();
        // Where the text ends after its last line feed, or an empty one.
        lines.push(Line { start, width: 0 });
        Self { lines }
    }

    /// A place as the parser gives it, with its end where it has one: mappings and lists only begin.
    pub(crate) fn position(&self, location: Location) -> Position {
        let line = u32::try_from(location.line()).unwrap_or(u32::MAX).max(1);
        let column = u32::try_from(location.column()).unwrap_or(u32::MAX).max(1);
        Position { line, column, end: self.end(location) }
    }

    fn end(&self, location: Location) -> Option<End> {
        let (offset, length) = (location.span().offset(), location.span().len());
        let begun = usize::try_from(location.line()).ok()?.checked_sub(1)?;
        // Should the parser count lines or characters in another way some day, no end is better than a wrong one.
        if length == 0 || self.lines.get(begun)?.start + location.column() != offset + 1 {
            return None;
        }
        let end = offset + length;
        let mut at = self.lines.partition_point(|line| line.start <= end).checked_sub(1)?;
        let mut width = end - self.lines[at].start;
        // A block of text is read with its last line break: it ends before that.
        if width == 0 && at > begun {
            at -= 1;
            width = self.lines[at].width;
        }
        let width = width.min(self.lines[at].width);
        let (line, column) = (u32::try_from(at + 1).ok()?, u32::try_from(width + 1).ok()?);
        let begins_before = at > begun || u64::from(column) > location.column();
        begins_before.then_some(End { line, column })
    }
}
