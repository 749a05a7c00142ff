//! `docs/api.md` is what the contracts say. With `PICKET_UPDATE_DOCS=1` the test writes it.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

use picket_proto::{FILE_DESCRIPTOR_SET, error::CODES};
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

const HEAD: &str = "# API

gRPC on two ports, from one tree of contracts (`proto/picket/v1`); this page is generated from their descriptors. The API port also speaks gRPC-Web and JSON over HTTP:

```sh
curl -H \"authorization: Bearer $TOKEN\" -H 'content-type: application/json' -d '{\"query\":\"curl\",\"limit\":1}' https://server:8443/api/picket.v1.Events/Search
```

In JSON, a field has its `lowerCamelCase` name, 64-bit integers are text, times are RFC 3339 and an unknown field is refused. A streaming method answers NDJSON, one message a line.

## Errors

A call that gives no result gives one of these. Over JSON the body is `{\"code\": \"…\", \"message\": \"…\"}`. An internal error tells only a reference: the cause stands in the server's log.

| gRPC | JSON `code` | HTTP |
|---|---|---|
";

/// Comments by the place of what they describe.
type Comments = BTreeMap<Vec<i32>, String>;

fn render() -> String {
    let mut page = String::from(HEAD);
    for (code, text, status) in CODES {
        writeln!(page, "| {code:?} | `{text}` | {status} |").expect("text");
    }
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let ours: Vec<&FileDescriptorProto> = set.file.iter().filter(|file| file.package() == "picket.v1").collect();
    page.push_str("\n## Services\n");
    for file in &ours {
        services(file, &mut page);
    }
    page.push_str("\n## Messages\n");
    for file in &ours {
        let comments = comments(file);
        for (index, message) in file.message_type.iter().enumerate() {
            describe_message(message, &[4, number(index)], &comments, "", &mut page);
        }
    }
    page
}

fn comments(file: &FileDescriptorProto) -> Comments {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations
        .filter_map(|location| {
            let lines: Vec<&str> = location.leading_comments.as_deref()?.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
            Some((location.path.clone(), lines.join("\n").trim().to_owned()))
        })
        .collect()
}

fn number(index: usize) -> i32 {
    i32::try_from(index).expect("few")
}

fn services(file: &FileDescriptorProto, page: &mut String) {
    let comments = comments(file);
    for (index, service) in file.service.iter().enumerate() {
        let place = vec![6, number(index)];
        writeln!(page, "\n### {}\n", service.name()).expect("text");
        if let Some(comment) = comments.get(&place) {
            writeln!(page, "{comment}\n").expect("text");
        }
        for (index, method) in service.method.iter().enumerate() {
            let place = [place.as_slice(), &[2, number(index)]].concat();
            describe_method(method, comments.get(&place), page);
        }
    }
}

fn describe_method(method: &MethodDescriptorProto, comment: Option<&String>, page: &mut String) {
    let side = |streaming: bool, name: &str| format!("{}[{}](#{})", if streaming { "stream of " } else { "" }, short(name), short(name).to_lowercase());
    let input = side(method.client_streaming(), method.input_type());
    let output = side(method.server_streaming(), method.output_type());
    writeln!(page, "**{}**: {input} → {output}\n", method.name()).expect("text");
    if let Some(comment) = comment {
        writeln!(page, "{comment}\n").expect("text");
    }
}

fn describe_message(message: &DescriptorProto, place: &[i32], comments: &Comments, parent: &str, page: &mut String) {
    let name = format!("{parent}{}", message.name());
    writeln!(page, "\n### {name}\n").expect("text");
    if let Some(comment) = comments.get(place) {
        writeln!(page, "{comment}\n").expect("text");
    }
    if message.field.is_empty() {
        page.push_str("No fields.\n");
    } else {
        page.push_str("| | field | type | |\n|---|---|---|---|\n");
    }
    for (index, field) in message.field.iter().enumerate() {
        let place = [place, &[2, number(index)]].concat();
        let comment = comments.get(&place).map(|comment| comment.replace('\n', " ")).unwrap_or_default();
        writeln!(page, "| {} | `{}` | {} | {comment} |", field.number(), field.name(), field_type(field)).expect("text");
    }
    for (index, kind) in message.enum_type.iter().enumerate() {
        describe_enum(kind, &[place, &[4, number(index)]].concat(), comments, &name, page);
    }
    for (index, nested) in message.nested_type.iter().enumerate() {
        describe_message(nested, &[place, &[3, number(index)]].concat(), comments, &format!("{name}."), page);
    }
}

fn describe_enum(kind: &EnumDescriptorProto, place: &[i32], comments: &Comments, parent: &str, page: &mut String) {
    writeln!(page, "\n`{parent}.{}`:\n", kind.name()).expect("text");
    for (index, value) in kind.value.iter().enumerate() {
        let comment = comments.get(&[place, &[2, number(index)]].concat()).map(|comment| format!(": {}", comment.replace('\n', " "))).unwrap_or_default();
        writeln!(page, "- {} `{}`{comment}", value.number(), value.name()).expect("text");
    }
}

fn field_type(field: &FieldDescriptorProto) -> String {
    let name = match field.r#type() {
        Type::Message | Type::Enum => short(field.type_name()).to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    let prefix = match field.label() {
        Label::Repeated => "repeated ",
        _ if field.proto3_optional() => "optional ",
        _ if field.oneof_index.is_some() => "one of: ",
        _ => "",
    };
    format!("{prefix}{name}")
}

fn short(name: &str) -> &str {
    name.trim_start_matches(".picket.v1.").trim_start_matches('.')
}

#[test]
fn api_page_is_what_the_contracts_say() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let rendered = render();
    if env::var_os("PICKET_UPDATE_DOCS").is_some() {
        fs::write(&page, &rendered).expect("docs/api.md");
    }
    let written = fs::read_to_string(&page).expect("docs/api.md");
    assert!(written == rendered, "docs/api.md is out of step: run PICKET_UPDATE_DOCS=1 cargo test -p picket-proto --test docs");
}

/// The contract of a service is its comment.
#[test]
fn every_service_has_its_contract() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("our own descriptors");
    for file in set.file.iter().filter(|file| file.package() == "picket.v1") {
        let comments = comments(file);
        for (index, service) in file.service.iter().enumerate() {
            assert!(comments.get(&vec![6, number(index)]).is_some_and(|comment| !comment.is_empty()), "{} has no comment", service.name());
        }
    }
}
