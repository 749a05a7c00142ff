//! Who may call what. A method that is not in this list cannot be called at all; a test compares it with the contract both ways.

/// What a caller must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone who can reach the port.
    Public,
    /// Whoever carries a valid token of this role.
    Admin,
}

/// When the audit row of a call is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing and ends soon: one row when it has ended.
    Read,
    /// Changes something, or lasts: a durable row before anything happens, completed when it ends.
    Change,
}

/// One method of the API.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// As in the audit log, without the leading slash.
    pub name: &'static str,
    /// Who may.
    pub access: Access,
    /// How it is audited.
    pub effect: Effect,
}

const fn method(name: &'static str, access: Access, effect: Effect) -> Method {
    Method { name, access, effect }
}

/// Every method.
pub static METHODS: [Method; 20] = [
    method("picket.v1.Auth/SignIn", Access::Public, Effect::Change),
    method("picket.v1.Auth/SignOut", Access::Admin, Effect::Change),
    method("picket.v1.Auth/WhoAmI", Access::Admin, Effect::Read),
    method("picket.v1.Hosts/List", Access::Admin, Effect::Read),
    method("picket.v1.Hosts/Show", Access::Admin, Effect::Read),
    method("picket.v1.Hosts/Revoke", Access::Admin, Effect::Change),
    method("picket.v1.Hosts/Refresh", Access::Admin, Effect::Change),
    method("picket.v1.Hosts/Scan", Access::Admin, Effect::Change),
    method("picket.v1.Hosts/Refusals", Access::Admin, Effect::Read),
    method("picket.v1.Tokens/Create", Access::Admin, Effect::Change),
    method("picket.v1.Tokens/List", Access::Admin, Effect::Read),
    method("picket.v1.Tokens/Revoke", Access::Admin, Effect::Change),
    method("picket.v1.Events/Search", Access::Admin, Effect::Read),
    method("picket.v1.Events/Tail", Access::Admin, Effect::Change),
    method("picket.v1.Events/Sql", Access::Admin, Effect::Change),
    method("picket.v1.Events/Columns", Access::Admin, Effect::Read),
    method("picket.v1.Server/Status", Access::Admin, Effect::Read),
    method("picket.v1.Server/Audit", Access::Admin, Effect::Read),
    EXPORT,
    UNKNOWN,
];

/// `GET /export/events.ndjson`.
pub(super) const EXPORT: Method = method("export/events.ndjson", Access::Admin, Effect::Change);
/// Whatever is not in the list: recorded under one name, so that a caller cannot fill the audit log or the metrics with names.
pub(super) const UNKNOWN: Method = method("unknown", Access::Admin, Effect::Read);

/// The method of a request path, as `/picket.v1.Hosts/List`.
#[must_use]
pub(super) fn find(path: &str) -> &'static Method {
    let name = path.strip_prefix('/').unwrap_or(path);
    METHODS.iter().find(|method| method.name == name).unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn the_list_is_the_contract() {
        let pool = DescriptorPool::decode(picket_proto::FILE_DESCRIPTOR_SET).unwrap();
        let api = pool.services().filter(|service| !["Enrolment", "AgentGateway"].contains(&service.name()));
        let contract: BTreeSet<String> =
            api.flat_map(|service| service.methods().map(|method| format!("{}/{}", service.full_name(), method.name())).collect::<Vec<_>>()).collect();
        let listed: BTreeSet<String> = METHODS.iter().map(|method| method.name.to_owned()).filter(|name| name.starts_with("picket.v1.")).collect();
        assert_eq!(listed, contract);
    }

    #[test]
    fn only_signing_in_is_public() {
        let public: Vec<_> = METHODS.iter().filter(|method| method.access == Access::Public).map(|method| method.name).collect();
        assert_eq!(public, ["picket.v1.Auth/SignIn"]);
        assert_eq!(find("/picket.v1.AgentGateway/Session"), &UNKNOWN);
        assert_eq!(find("/x"), &UNKNOWN);
    }
}
