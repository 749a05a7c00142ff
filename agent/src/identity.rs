//! x
pub(crate) fn server_url(text: &str) -> Result<url::Url, String> {
    let url = url::Url::parse(text).map_err(|error| error.to_string())?;
    if url.scheme() != "https" || url.host().is_none() {
        return Err("must be https://HOST:PORT".to_owned());
    }
    Ok(url)
}
