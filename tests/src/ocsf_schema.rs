//! Validates events against the published OCSF schema: its own class, object, profile and dictionary files, with `extends`,
//! `$include`, profiles and the Linux extension resolved as the schema's compiler does.
//!
//! Stricter than the schema in three ways: a caption beside an id must be the id's caption, a deprecated attribute is refused, and an
//! observable must name a place in the event that holds its value. The one attribute outside the schema is `picket` at the top.

#![expect(clippy::indexing_slicing, reason = "reading JSON by index gives null where it has no such place")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use regex::Regex;
use serde_json::{Map, Value};

type Attributes = Map<String, Value>;

/// The schema, resolved.
pub struct Schema {
    version: String,
    types: Map<String, Value>,
    patterns: BTreeMap<String, Regex>,
    objects: BTreeMap<String, Definition>,
    classes: BTreeMap<i64, Definition>,
    profiles: BTreeSet<String>,
    observables: BTreeMap<i64, String>,
}

#[derive(Clone, Default)]
struct Definition {
    caption: String,
    category: Option<(i64, String)>,
    attributes: Attributes,
    constraints: Map<String, Value>,
}

impl Schema {
    /// The published schema: `ocsf-1.8.0` in `$PICKET_SHARED` or in its `data` folder, or `shared/data/ocsf-1.8.0` beside the project; `None` where neither is there.
    ///
    /// # Panics
    /// When it is there and cannot be read: that is no reason to skip.
    #[must_use]
    pub fn load() -> Option<Self> {
        let named = env::var_os("PICKET_SHARED").map(PathBuf::from).into_iter().flat_map(|shared| [shared.join("ocsf-1.8.0"), shared.join("data/ocsf-1.8.0")]);
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("shared/data/ocsf-1.8.0"));
        let folder = named.chain(beside).find(|folder| folder.join("dictionary.json").is_file())?;
        Some(Self::read(&folder).unwrap_or_else(|error| panic!("the published schema in {}: {error}", folder.display())))
    }

    fn read(folder: &Path) -> io::Result<Self> {
        let dictionary = object(read(&folder.join("dictionary.json"))?, "attributes");
        let types = object(object_value(read(&folder.join("dictionary.json"))?, "types"), "attributes");
        let version = read(&folder.join("version.json"))?["version"].as_str().unwrap_or_default().to_owned();
        let loader = Loader { folder: folder.to_owned(), raw_objects: raw_objects(folder)?, dictionary: &dictionary };
        let names: Vec<String> = loader.raw_objects.keys().cloned().collect();
        let objects = names.iter().map(|name| Ok((name.clone(), loader.object(name)?))).collect::<io::Result<BTreeMap<_, _>>>()?;
        let classes = loader.classes()?;
        let profiles = profile_names(folder)?;
        let observables = observables(&dictionary, &types, &loader.raw_objects);
        let patterns = types
            .iter()
            .filter_map(|(name, kind)| Some((name.clone(), kind["regex"].as_str()?)))
            .map(|(name, pattern)| Ok((name, Regex::new(pattern).map_err(io::Error::other)?)))
            .collect::<io::Result<_>>()?;
        Ok(Self { version, types, patterns, objects, classes, profiles, observables })
    }

    /// Everything that is wrong with an event; empty where it is valid.
    #[must_use]
    pub fn validate(&self, event: &Value) -> Vec<String> {
        let mut check = Check { schema: self, profiles: BTreeSet::new(), found: Vec::new() };
        let Some(class_uid) = event["class_uid"].as_i64() else { return vec![String::from("class_uid: missing or no integer")] };
        let Some(class) = self.classes.get(&class_uid) else { return vec![format!("class_uid: {class_uid} is no class")] };
        let declared = event["metadata"]["profiles"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for profile in declared {
            if !self.profiles.contains(profile) {
                check.found.push(format!("metadata.profiles: {profile} is no profile"));
            }
            check.profiles.insert(profile.to_owned());
        }
        check.object(event, class, "");
        check.classification(event, class_uid, class);
        check.observables(event);
        check.found
    }
}

struct Check<'a> {
    schema: &'a Schema,
    profiles: BTreeSet<String>,
    found: Vec<String>,
}

impl Check<'_> {
    fn object(&mut self, value: &Value, definition: &Definition, path: &str) {
        let Some(fields) = value.as_object() else {
            self.found.push(format!("{path}: not an object"));
            return;
        };
        for (key, field) in fields {
            let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match definition.attributes.get(key) {
                Some(attribute) => self.attribute(field, attribute, fields, &at),
                None if at == "picket" && field.is_object() => {}
                None => self.found.push(format!("{at}: unknown attribute")),
            }
        }
        for (name, attribute) in &definition.attributes {
            let applies = attribute["profile"].as_str().is_none_or(|profile| self.profiles.contains(profile));
            if attribute["requirement"] == "required" && applies && fields.get(name).is_none_or(Value::is_null) {
                self.found.push(format!("{path}.{name}: required attribute is missing"));
            }
        }
        for (kind, names) in &definition.constraints {
            let present = names.as_array().into_iter().flatten().filter_map(Value::as_str).filter(|name| fields.contains_key(*name)).count();
            if present == 0 || (kind == "just_one" && present > 1) {
                self.found.push(format!("{path}: constraint {kind} of {names} not met"));
            }
        }
    }

    fn attribute(&mut self, value: &Value, attribute: &Value, siblings: &Map<String, Value>, at: &str) {
        if let Some(profile) = attribute["profile"].as_str().filter(|profile| !self.profiles.contains(*profile)) {
            self.found.push(format!("{at}: belongs to the profile {profile}, which metadata.profiles does not name"));
        }
        if attribute.get("@deprecated").is_some() {
            self.found.push(format!("{at}: deprecated attribute"));
        }
        match (attribute["is_array"] == true, value.as_array()) {
            (true, Some(items)) => items.iter().enumerate().for_each(|(index, item)| self.value(item, attribute, &format!("{at}[{index}]"))),
            (true, None) => self.found.push(format!("{at}: not an array")),
            (false, _) => self.value(value, attribute, at),
        }
        self.sibling(value, attribute, siblings, at);
    }

    fn value(&mut self, value: &Value, attribute: &Value, at: &str) {
        let kind = attribute["type"].as_str().unwrap_or_default();
        if self.schema.types.contains_key(kind) {
            self.scalar(value, kind, at);
        } else if kind == "object" {
            if !value.is_object() {
                self.found.push(format!("{at}: not an object"));
            }
        } else if let Some(definition) = self.schema.objects.get(kind) {
            self.object(value, definition, at);
        } else {
            self.found.push(format!("{at}: the schema has no type {kind}"));
        }
        let id = value.as_i64().map(|id| id.to_string()).or_else(|| value.as_str().map(str::to_owned)).unwrap_or_default();
        if self.enumeration(attribute, at).is_some_and(|members| !members.contains_key(&id)) {
            self.found.push(format!("{at}: {value} is not in the enumeration"));
        }
    }

    /// Ids and captions that an attribute may take, where it is enumerated.
    fn enumeration(&self, attribute: &Value, at: &str) -> Option<BTreeMap<String, String>> {
        // These three are computed by the schema's compiler; `classification` checks them.
        if ["class_uid", "category_uid", "type_uid"].contains(&at) {
            return None;
        }
        let mut members: BTreeMap<String, String> =
            attribute["enum"].as_object()?.iter().map(|(id, member)| (id.clone(), member["caption"].as_str().unwrap_or_default().to_owned())).collect();
        if at.starts_with("observables[") && at.ends_with("].type_id") {
            members.extend(self.schema.observables.iter().map(|(id, caption)| (id.to_string(), caption.clone())));
        }
        Some(members)
    }

    /// The caption beside an id is the id's; 99 (Other) may have any.
    fn sibling(&mut self, value: &Value, attribute: &Value, siblings: &Map<String, Value>, at: &str) {
        let (Some(name), Some(id)) = (attribute["sibling"].as_str(), value.as_i64()) else { return };
        let (Some(members), Some(caption)) = (self.enumeration(attribute, at), siblings.get(name)) else { return };
        let expected = members.get(&id.to_string());
        if id != 99 && expected.is_some_and(|expected| caption != expected) {
            self.found.push(format!("{at}: {caption} stands beside {id}, which is called {expected:?}"));
        }
    }

    fn scalar(&mut self, value: &Value, kind: &str, at: &str) {
        let definition = &self.schema.types[kind];
        let base = definition["type"].as_str().unwrap_or(kind);
        let fits = match base {
            "string_t" => value.is_string(),
            "integer_t" | "long_t" => value.is_i64(),
            "float_t" => value.is_number(),
            "boolean_t" => value.is_boolean(),
            _ => true,
        };
        if !fits {
            self.found.push(format!("{at}: {value} is no {kind}"));
            return;
        }
        if let (Some([low, high]), Some(number)) = (definition["range"].as_array().map(Vec::as_slice), value.as_i64())
            && !(low.as_i64() <= Some(number) && Some(number) <= high.as_i64())
        {
            self.found.push(format!("{at}: {number} is out of the range of {kind}"));
        }
        let Some(text) = value.as_str() else { return };
        if definition["max_len"].as_u64().is_some_and(|max| text.chars().count() > usize::try_from(max).unwrap_or(usize::MAX)) {
            self.found.push(format!("{at}: longer than a {kind}"));
        }
        // The schema's pattern for addresses knows not every way to write one (`::ffff:1.2.3.4%eth0`); the standard library does.
        let matches = if kind == "ip_t" { text.parse::<IpAddr>().is_ok() } else { self.schema.patterns.get(kind).is_none_or(|pattern| pattern.is_match(text)) };
        if !matches {
            self.found.push(format!("{at}: {text:?} is no {kind}"));
        }
    }

    fn classification(&mut self, event: &Value, class_uid: i64, class: &Definition) {
        let activity_id = event["activity_id"].as_i64().unwrap_or_default();
        let (category_uid, category) = class.category.clone().unwrap_or_default();
        let activity = class.attributes.get("activity_id").map_or(&Value::Null, |attribute| &attribute["enum"][activity_id.to_string()]["caption"]);
        let expected = [
            ("category_uid", Value::from(category_uid)),
            ("category_name", Value::from(category)),
            ("class_name", Value::from(class.caption.clone())),
            ("type_uid", Value::from(class_uid * 100 + activity_id)),
            ("type_name", Value::from(format!("{}: {}", class.caption, activity.as_str().unwrap_or_default()))),
        ];
        for (name, expected) in expected {
            if event.get(name).is_some_and(|value| *value != expected) {
                self.found.push(format!("{name}: {} instead of {expected}", event[name]));
            }
        }
        if event["metadata"]["version"] != *self.schema.version {
            self.found.push(format!("metadata.version: {} instead of {}", event["metadata"]["version"], self.schema.version));
        }
    }

    fn observables(&mut self, event: &Value) {
        for observable in event["observables"].as_array().into_iter().flatten() {
            let name = observable["name"].as_str().unwrap_or_default();
            if event.pointer(&format!("/{}", name.replace('.', "/"))).is_none_or(|value| *value != observable["value"]) {
                self.found.push(format!("observables: {name} does not hold {}", observable["value"]));
            }
        }
    }
}

struct Loader<'a> {
    folder: PathBuf,
    raw_objects: BTreeMap<String, Value>,
    dictionary: &'a Attributes,
}

impl Loader<'_> {
    fn object(&self, name: &str) -> io::Result<Definition> {
        let raw = self.raw_objects.get(name).ok_or_else(|| io::Error::other(format!("no object {name}")))?;
        let mut definition = match raw["extends"].as_str() {
            Some(parent) => self.object(parent)?,
            None => Definition::default(),
        };
        self.overlay(&mut definition, raw, &self.folder)?;
        Ok(definition)
    }

    fn classes(&self) -> io::Result<BTreeMap<i64, Definition>> {
        let mut raw = BTreeMap::new();
        for file in json_files(&self.folder.join("events"))? {
            let class = read(&file)?;
            // One published file is misnamed inside; `extends` goes by the inner name.
            raw.insert(class["name"].as_str().unwrap_or_default().to_owned(), class);
        }
        let categories = object(read(&self.folder.join("categories.json"))?, "attributes");
        let mut classes = BTreeMap::new();
        for name in raw.keys() {
            let (definition, uid) = self.class(name, &raw, &categories)?;
            if let (Some(uid), Some((category, _))) = (uid, &definition.category) {
                classes.insert(category * 1000 + uid, definition);
            }
        }
        Ok(classes)
    }

    fn class(&self, name: &str, raw: &BTreeMap<String, Value>, categories: &Map<String, Value>) -> io::Result<(Definition, Option<i64>)> {
        let class = raw.get(name).ok_or_else(|| io::Error::other(format!("no class {name}")))?;
        let mut definition = match class["extends"].as_str() {
            Some(parent) => self.class(parent, raw, categories)?.0,
            None => Definition::default(),
        };
        if let Some(category) = class["category"].as_str().and_then(|category| categories.get(category)) {
            definition.category = category["uid"].as_i64().zip(category["caption"].as_str().map(str::to_owned));
        }
        self.overlay(&mut definition, class, &self.folder)?;
        Ok((definition, class["uid"].as_i64()))
    }

    /// Lays what a file says over what it extends; an attribute begins with what the dictionary says of it.
    fn overlay(&self, definition: &mut Definition, raw: &Value, folder: &Path) -> io::Result<()> {
        if let Some(caption) = raw["caption"].as_str() {
            caption.clone_into(&mut definition.caption);
        }
        if let Some(constraints) = raw["constraints"].as_object() {
            definition.constraints.clone_from(constraints);
        }
        let attributes = raw["attributes"].as_object().cloned().unwrap_or_default();
        for include in attributes.get("$include").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            let root = raw["$root"].as_str().map_or_else(|| folder.to_owned(), PathBuf::from);
            let profile = read(&root.join(include))?;
            let extension = raw["$extension"].as_str().map(|extension| format!("{extension}/")).unwrap_or_default();
            let name = format!("{extension}{}", profile["name"].as_str().unwrap_or_default());
            for (key, mut attribute) in object(profile, "attributes") {
                if let Some(fields) = attribute.as_object_mut() {
                    fields.insert(String::from("profile"), Value::from(name.clone()));
                }
                self.put(&mut definition.attributes, &key, &attribute);
            }
        }
        for (key, attribute) in attributes.iter().filter(|(key, _)| *key != "$include") {
            self.put(&mut definition.attributes, key, attribute);
        }
        Ok(())
    }

    fn put(&self, attributes: &mut Attributes, key: &str, attribute: &Value) {
        let entry = attributes.entry(key).or_insert_with(|| self.dictionary.get(key).cloned().unwrap_or_default());
        merge(entry, attribute);
    }
}

/// Objects of the core, and of the Linux extension laid over them.
fn raw_objects(folder: &Path) -> io::Result<BTreeMap<String, Value>> {
    let mut raw = BTreeMap::new();
    for file in json_files(&folder.join("objects"))? {
        let object = read(&file)?;
        raw.insert(object["name"].as_str().unwrap_or_default().to_owned(), object);
    }
    let linux = folder.join("extensions/linux");
    for file in json_files(&linux.join("objects"))? {
        let patch = read(&file)?;
        let base = patch["extends"].as_str().unwrap_or_default().to_owned();
        let Some(core) = raw.remove(&base) else { continue };
        let hidden = format!("{base} of the core");
        raw.insert(hidden.clone(), core);
        let mut patched = patch;
        if let Some(fields) = patched.as_object_mut() {
            fields.insert(String::from("extends"), Value::from(hidden));
            fields.insert(String::from("$root"), Value::from(linux.to_string_lossy()));
            fields.insert(String::from("$extension"), Value::from("linux"));
        }
        raw.insert(base, patched);
    }
    Ok(raw)
}

fn profile_names(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (prefix, folder) in [("", folder.join("profiles")), ("linux/", folder.join("extensions/linux/profiles"))] {
        for file in json_files(&folder)? {
            names.insert(format!("{prefix}{}", read(&file)?["name"].as_str().unwrap_or_default()));
        }
    }
    Ok(names)
}

/// Observable types are declared where the type, attribute or object is.
fn observables(dictionary: &Attributes, types: &Map<String, Value>, objects: &BTreeMap<String, Value>) -> BTreeMap<i64, String> {
    let mut found = BTreeMap::new();
    for entry in dictionary.values().chain(types.values()).chain(objects.values()) {
        if let (Some(id), Some(caption)) = (entry["observable"].as_i64(), entry["caption"].as_str()) {
            found.insert(id, caption.to_owned());
        }
    }
    found
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn json_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(json_files(&path)?);
        } else if path.extension().is_some_and(|ext| ext == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> io::Result<Value> {
    serde_json::from_slice(&fs::read(file)?).map_err(|error| io::Error::other(format!("{}: {error}", file.display())))
}

fn object_value(mut value: Value, key: &str) -> Value {
    value[key].take()
}

fn object(value: Value, key: &str) -> Map<String, Value> {
    match object_value(value, key) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
