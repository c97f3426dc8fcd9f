//! What the operators mean, for people.

use super::Operator;

/// What holds when the operator is true.
pub(super) fn of(operator: Operator) -> &'static str {
    match operator {
        Operator::Equals => "equal to the value; numbers by value, `1` and `\"1\"` differ",
        Operator::NotEquals => "not equal to the value",
        Operator::IEquals => "the same text in lower case",
        Operator::Contains => "a text with this part, an array with this element, or an object with this key",
        Operator::NotContains => "not `contains`",
        Operator::IContains => "`contains` in lower case, in a text or an array of texts",
        Operator::NotIContains => "not `icontains`",
        Operator::StartsWith => "a text with this beginning",
        Operator::EndsWith => "a text with this end",
        Operator::IStartsWith => "`starts_with` in lower case",
        Operator::IEndsWith => "`ends_with` in lower case",
        Operator::LessThan => "less: two numbers, two texts or two arrays",
        Operator::LessOrEqual => "less or equal",
        Operator::GreaterThan => "greater",
        Operator::GreaterOrEqual => "greater or equal",
        Operator::Between => "between two bounds, both included",
        Operator::In => "an element of the array, or a part of the text",
        Operator::NotIn => "not `in`",
        Operator::Regex => "the regular expression is found somewhere in the text",
        Operator::IRegex => "`regex` with letters in either case",
        Operator::MatchRegex => {
            "the regular expression matches from the start of the text; `.` matches line breaks"
        }
        Operator::Wildcard => "the wildcard (`*`, `?`, `[seq]`) matches the whole text",
        Operator::YoungerThan => "a time less than this span before now",
        Operator::OlderThan => "a time more than this span before now",
        Operator::Exists => "the field exists and is not null",
        Operator::NotExists => "the field does not exist, or is null",
        Operator::IsEmpty => "null, or a text, an array or an object with nothing in it",
        Operator::IsNotEmpty => "not `is_empty`",
        Operator::InCidr => "an address or network that lies in the network, or in one of several",
        Operator::NotInCidr => "not `in_cidr`",
        Operator::VersionEquals => "the same semantic version",
        Operator::VersionLessThan => "an earlier semantic version",
        Operator::VersionLessOrEqual => "an earlier semantic version, or the same",
        Operator::VersionGreaterThan => "a later semantic version",
        Operator::VersionGreaterOrEqual => "a later semantic version, or the same",
        Operator::VersionMatches => "a semantic version that meets the requirement, such as `>=1.2, <2`",
        Operator::Search => "elements of an array that meet conditions of their own",
    }
}
