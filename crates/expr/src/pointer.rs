//! JSON pointers (RFC 6901), the way every fault says where it stands.

/// Appends a step: the name of a member or the position of an element.
pub fn push(pointer: &mut String, step: &str) {
    pointer.push('/');
    for character in step.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// The pointer one step further.
pub fn child(pointer: &str, step: &str) -> String {
    let mut child = pointer.to_owned();
    push(&mut child, step);
    child
}

#[cfg(test)]
mod tests {
    use super::child;

    #[test]
    fn test_steps_are_escaped() {
        assert_eq!(child("", "a"), "/a");
        assert_eq!(child("/a", ""), "/a/");
        assert_eq!(child("/a", "b/c~d"), "/a/b~1c~0d");
    }
}
