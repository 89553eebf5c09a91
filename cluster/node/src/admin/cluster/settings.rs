//! The settings of the cluster, which hold on all nodes and are changed while everything runs.

use abide_model::command::{MetaAction, SetSetting};
use abide_model::setting::{SETTINGS, Setting};
use abide_placement::Wanted;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::answer::{self, AdminError};
use super::{Helm, Shared, orders};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wished {
    value: Value,
}

/// The values that hold, by name; null where each node does as its own configuration says.
pub(super) fn values(wanted: &Wanted) -> Value {
    let values = SETTINGS.iter().map(|setting| (setting.name.to_owned(), value(setting, wanted)));
    Value::Object(values.collect::<Map<_, _>>())
}

pub(super) async fn list<H: Helm>(State(helm): Shared<H>) -> Response {
    let wanted = helm.cluster().wanted();
    let settings: Vec<_> = SETTINGS.iter().map(|setting| describe(setting, &wanted)).collect();
    answer::json(&json!({ "settings": settings }))
}

pub(super) async fn one<H: Helm>(State(helm): Shared<H>, Path(name): Path<String>) -> Result<Response, AdminError> {
    Ok(answer::json(&describe(named(&name)?, &helm.cluster().wanted())))
}

pub(super) async fn set<H: Helm>(
    State(helm): Shared<H>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, AdminError> {
    let setting = named(&name)?;
    let value = match orders::body::<Wished>(body).await?.value {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        other => return Err(AdminError::invalid(format!("`value` is {}, not {other}", setting.expected()))),
    };
    change(&*helm, setting, Some(value)).await
}

pub(super) async fn unset<H: Helm>(State(helm): Shared<H>, Path(name): Path<String>) -> Result<Response, AdminError> {
    change(&*helm, named(&name)?, None).await
}

async fn change<H: Helm>(helm: &H, setting: &Setting, value: Option<String>) -> Result<Response, AdminError> {
    let order = SetSetting { name: setting.name.to_owned(), value: value.clone() };
    let shows = |wanted: &Wanted| wanted.settings.get(setting.name) == value.as_ref();
    orders::carry_out(helm, MetaAction::SetSetting(order), shows).await?;
    Ok(answer::json(&describe(setting, &helm.cluster().wanted())))
}

fn named(name: &str) -> Result<&'static Setting, AdminError> {
    Setting::named(name).ok_or_else(|| {
        let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        let shown: String = name.chars().take(64).collect();
        AdminError::not_found(format!("there is no setting `{shown}`, only {}", names.join(", ")))
    })
}

fn value(setting: &Setting, wanted: &Wanted) -> Value {
    let holds = wanted.settings.get(setting.name).map_or(setting.default, String::as_str);
    if holds.is_empty() { Value::Null } else { holds.into() }
}

fn describe(setting: &Setting, wanted: &Wanted) -> Value {
    json!({
        "name": setting.name,
        "value": value(setting, wanted),
        "default": if setting.default.is_empty() { Value::Null } else { setting.default.into() },
        "set": wanted.settings.contains_key(setting.name),
        "expected": setting.expected(),
        "what": setting.what,
    })
}
