//! What is allowed: grants, what limits them, and what is asked of them.

use serde::{Deserialize, Serialize};

/// A permission: these actions on this resource; `*` stands for any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub resource: String,
    pub actions: Vec<String>,
    #[serde(default, skip_serializing_if = "Constraints::is_empty")]
    pub constraints: Constraints,
}

/// What a grant is limited to; all that is given has to be met, and none is no limit.
///
/// Read strictly: a limit that this version does not know must not be taken for none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// Only what has one of these refs; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<String>,
    /// Only what belongs to one of these packs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs: Vec<String>,
    /// Only what belongs to whom the grant is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Ownership>,
}

/// Whose something has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// Begun by the identity itself; for a run: by the run.
    #[serde(rename = "self")]
    Own,
}

/// One thing that something is to be done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its ref; of what has none, that of what it belongs to: the action of an execution, the trigger of an event.
    pub r#ref: &'a str,
    /// The identity that began it.
    pub identity: Option<i64>,
    /// The execution that began it.
    pub parent: Option<i64>,
}

impl<'a> Subject<'a> {
    /// Something with a ref, which belongs to nobody.
    pub fn of(r#ref: &'a str) -> Self {
        Self { r#ref, identity: None, parent: None }
    }
}

/// Whoever owns what `owner: self` means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    pub identity: Option<i64>,
    /// The execution, where it is a run that asks.
    pub execution: Option<i64>,
}

impl Owner {
    fn owns(self, subject: &Subject<'_>) -> bool {
        let same = |owner: Option<i64>, of: Option<i64>| owner.is_some() && owner == of;
        same(self.identity, subject.identity) || same(self.execution, subject.parent)
    }
}

impl Grant {
    /// Whether it is about the action on the resource, for something at least.
    pub fn concerns(&self, resource: &str, action: &str) -> bool {
        (self.resource == "*" || self.resource == resource)
            && self.actions.iter().any(|allowed| allowed == "*" || allowed == action)
    }

    /// Whether it allows the action on everything of the resource.
    pub fn allows(&self, resource: &str, action: &str) -> bool {
        self.constraints.is_empty() && self.concerns(resource, action)
    }

    /// Whether it allows all that another grant allows of an action.
    pub fn covers(&self, resource: &str, action: &str, of: &Constraints) -> bool {
        if !self.concerns(resource, action) {
            return false;
        }
        let Constraints { refs, packs, owner } = &self.constraints;
        // Whoever acts later is somebody else.
        if owner.is_some() {
            return false;
        }
        if refs.is_empty() && packs.is_empty() {
            return true;
        }
        let asked = of.patterns();
        let own = self.constraints.patterns();
        // A pattern that fits another as if that were a ref fits all that the other does.
        asked.is_some_and(|asked| {
            let is_within = |asked: &String| own.iter().flatten().any(|own| fits(own, asked));
            asked.iter().all(is_within)
        })
    }
}

impl Constraints {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty() && self.packs.is_empty() && self.owner.is_none()
    }

    fn are_met_by(&self, subject: &Subject<'_>, owner: Owner) -> bool {
        let fitting = self.patterns().is_none_or(|patterns| patterns.iter().any(|p| fits(p, subject.r#ref)));
        fitting && (self.owner.is_none() || owner.owns(subject))
    }

    /// The refs that it is limited to, as patterns; None: any. A grant has `refs` or `packs`; with both, none would do.
    fn patterns(&self) -> Option<Vec<String>> {
        match (self.refs.as_slice(), self.packs.as_slice()) {
            ([], []) => None,
            (refs, []) => Some(refs.to_vec()),
            ([], packs) => Some(packs.iter().flat_map(|pack| [pack.clone(), format!("{pack}.*")]).collect()),
            (_, _) => Some(Vec::new()),
        }
    }
}

/// All that may be done something with, as a list is narrowed to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Everything,
    /// What one of these allows.
    Some(Vec<Constraints>, Owner),
}

/// A scope in the form that statements take: patterns of `like`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Refs of what may be reached, whoever began it.
    pub refs: Vec<String>,
    /// Refs of what may be reached if its owner asks.
    pub own_refs: Vec<String>,
    pub owner: Owner,
}

impl Scope {
    /// What grants allow of an action on a resource; None when it is nothing at all.
    pub fn of(grants: &[Grant], owner: Owner, resource: &str, action: &str) -> Option<Self> {
        let concerned: Vec<_> = grants.iter().filter(|grant| grant.concerns(resource, action)).collect();
        if concerned.is_empty() {
            None
        } else if concerned.iter().any(|grant| grant.constraints.is_empty()) {
            Some(Self::Everything)
        } else {
            Some(Self::Some(concerned.into_iter().map(|grant| grant.constraints.clone()).collect(), owner))
        }
    }

    /// Whether something is within it.
    pub fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Everything => true,
            Self::Some(constraints, owner) => {
                constraints.iter().any(|constraints| constraints.are_met_by(subject, *owner))
            }
        }
    }

    /// What statements narrow a list by; None: nothing.
    pub fn reach(&self) -> Option<Reach> {
        let Self::Some(constraints, owner) = self else { return None };
        let mut reach = Reach { owner: *owner, ..Reach::default() };
        for constraints in constraints {
            let patterns = constraints.patterns().unwrap_or_else(|| vec!["*".to_owned()]);
            let refs = match constraints.owner {
                None => &mut reach.refs,
                Some(Ownership::Own) => &mut reach.own_refs,
            };
            refs.extend(patterns.iter().map(|pattern| like(pattern)));
        }
        Some(reach)
    }
}

/// Whether a ref fits a pattern, in which `*` stands for any characters.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        // What stands between two stars is taken where it comes first; the last part has to be the end.
        if let Some(between) = last.replace(part) {
            match rest.split_once(between) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
    }
    match last {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    }
}

/// The pattern as `like` takes it.
fn like(pattern: &str) -> String {
    let mut text = String::with_capacity(pattern.len());
    for character in pattern.chars() {
        match character {
            '*' => text.push('%'),
            '%' | '_' | '\\' => text.extend(['\\', character]),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(resource: &str, action: &str, constraints: Constraints) -> Grant {
        Grant { resource: resource.to_owned(), actions: vec![action.to_owned()], constraints }
    }

    fn refs(refs: &[&str]) -> Constraints {
        Constraints { refs: refs.iter().map(|&r#ref| r#ref.to_owned()).collect(), ..Constraints::default() }
    }

    fn packs(packs: &[&str]) -> Constraints {
        Constraints { packs: packs.iter().map(|&pack| pack.to_owned()).collect(), ..Constraints::default() }
    }

    #[test]
    fn test_grant_allows_only_what_it_names() {
        let grant = Grant {
            resource: "execution".into(),
            actions: vec!["read".into(), "create".into()],
            constraints: Constraints::default(),
        };
        assert!(grant.allows("execution", "read"));
        assert!(!grant.allows("execution", "cancel"));
        assert!(!grant.allows("key", "read"));
        assert!(limited("*", "*", Constraints::default()).allows("key", "delete"));
        let limited = limited("execution", "read", refs(&["ops.*"]));
        assert!(limited.concerns("execution", "read") && !limited.allows("execution", "read"));
    }

    #[test]
    fn test_patterns() {
        for (pattern, text, expected) in [
            ("ops.deploy", "ops.deploy", true),
            ("ops.deploy", "ops.deployed", false),
            ("ops.*", "ops.deploy", true),
            ("ops.*", "opsx.deploy", false),
            ("*.deploy", "ops.deploy", true),
            ("*.deploy", "ops.deploy.x", false),
            ("ops.*_web", "ops.deploy_web", true),
            ("ops.*_web", "ops.deploy_webs", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*bc", "abcbc", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
        assert_eq!(like(r"ops.*_we\b%"), r"ops.%\_we\\b\%");
    }

    #[test]
    fn test_a_scope_holds_what_one_of_its_grants_allows() {
        let owner = Owner { identity: Some(7), execution: None };
        let own = Constraints { owner: Some(Ownership::Own), ..packs(&["net"]) };
        let grants = [limited("execution", "read", packs(&["ops"])), limited("execution", "read", own)];
        let scope = Scope::of(&grants, owner, "execution", "read").unwrap();
        let holds = |r#ref: &str, identity| scope.holds(&Subject { identity, ..Subject::of(r#ref) });
        assert!(holds("ops.deploy", None) && holds("net.scan", Some(7)));
        assert!(!holds("net.scan", Some(8)) && !holds("net.scan", None) && !holds("opsx.deploy", Some(7)));
        let reach = scope.reach().unwrap();
        assert_eq!(
            (reach.refs, reach.own_refs),
            (vec!["ops".into(), "ops.%".into()], vec!["net".into(), "net.%".into()])
        );
        assert_eq!(Scope::of(&grants, owner, "execution", "cancel"), None);
        let all = [grants[0].clone(), limited("*", "read", Constraints::default())];
        assert_eq!(Scope::of(&all, owner, "execution", "read"), Some(Scope::Everything));
    }

    #[test]
    fn test_a_run_owns_what_it_began() {
        let own = Constraints { owner: Some(Ownership::Own), ..Constraints::default() };
        let run = Owner { identity: None, execution: Some(3) };
        let scope = Scope::of(&[limited("execution", "read", own)], run, "execution", "read").unwrap();
        assert!(scope.holds(&Subject { parent: Some(3), ..Subject::of("ops.deploy") }));
        assert!(!scope.holds(&Subject::of("ops.deploy")));
    }

    #[test]
    fn test_a_grant_covers_what_is_no_wider() {
        let covers = |own: Constraints, asked: Constraints| {
            limited("execution", "*", own).covers("execution", "read", &asked)
        };
        assert!(covers(Constraints::default(), Constraints::default()));
        assert!(covers(Constraints::default(), refs(&["ops.deploy"])));
        assert!(covers(refs(&["ops.*"]), refs(&["ops.deploy", "ops.net.*"])));
        assert!(covers(refs(&["ops.*"]), refs(&["ops.*"])));
        assert!(covers(packs(&["ops"]), packs(&["ops"])));
        assert!(!covers(refs(&["ops.*"]), Constraints::default()));
        assert!(!covers(refs(&["ops.*"]), refs(&["ops.deploy", "net.scan"])));
        assert!(!covers(refs(&["ops.deploy"]), refs(&["ops.*"])));
        let own = Constraints { owner: Some(Ownership::Own), ..Constraints::default() };
        assert!(!covers(own.clone(), own));
    }

    #[test]
    fn test_an_unknown_limit_is_not_taken_for_none() {
        let read = |text: &str| serde_json::from_str::<Grant>(text);
        let grant =
            read(r#"{"resource": "execution", "actions": ["read"], "constraints": {"packs": ["ops"]}}"#);
        assert_eq!(grant.unwrap(), limited("execution", "read", packs(&["ops"])));
        assert!(read(r#"{"resource": "x", "actions": [], "constraints": {"hosts": ["a"]}}"#).is_err());
        let plain = read(r#"{"resource": "execution", "actions": ["read"]}"#).unwrap();
        assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"resource":"execution","actions":["read"]}"#);
    }
}
