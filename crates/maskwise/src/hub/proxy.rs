//! Which proxy, if any, a request goes through.

/// The proxies that the environment names.
#[derive(Clone, Default)]
pub(super) struct Proxies {
    /// Proxy of `https` addresses.
    https: Option<String>,
    /// Proxy of `http` addresses.
    http: Option<String>,
    /// Hosts that are reached directly.
    bypass: Vec<String>,
}

impl Proxies {
    pub(super) fn new(https: Option<String>, http: Option<String>, no_proxy: Option<&str>) -> Self {
        let entries = no_proxy.unwrap_or_default().split([',', ' ']).map(str::trim);
        let bypass = entries.filter(|entry| !entry.is_empty()).map(str::to_ascii_lowercase).collect();
        Self { https, http, bypass }
    }

    /// The proxy for an address; `None` is a direct connection. An entry of `NO_PROXY` stands for the host and all
    /// below it, `*` for every host; a port, where the entry has one, must match too (as in curl).
    pub(super) fn proxy_for(&self, scheme: &str, host: &str, port: u16) -> Option<&str> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if self.bypass.iter().any(|entry| entry_matches(entry, &host, port)) {
            return None;
        }
        self.of_scheme(scheme)
    }

    /// The proxy for a scheme, hosts that bypass it left aside.
    pub(super) fn of_scheme(&self, scheme: &str) -> Option<&str> {
        if scheme == "https" { self.https.as_deref() } else { self.http.as_deref() }
    }
}

fn entry_matches(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let (name, wanted_port) = split_port(entry);
    let name = name.trim_start_matches("*.").trim_start_matches('.');
    if name.is_empty() || wanted_port.is_some_and(|wanted| wanted != port) {
        return false;
    }
    host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

/// Splits `host:port` and `[::1]:port`; a bare IPv6 address has no port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        Some((name, port)) if !port.contains(':') => (name, port.parse().ok()),
        _ => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        let no_proxy = "localhost, .corp.example,*.lab.test,hub.example:8443,[::1]:80,fe80::2";
        let proxies = Proxies::new(Some("s".into()), Some("p".into()), Some(no_proxy));
        assert_eq!(proxies.proxy_for("https", "huggingface.co", 443), Some("s"));
        assert_eq!(proxies.proxy_for("http", "huggingface.co", 80), Some("p"));
        for (host, port) in [
            ("localhost", 1),
            ("a.corp.example", 443),
            ("CORP.example", 443),
            ("x.lab.test", 80),
            ("hub.example", 8443),
            ("[::1]", 80),
            ("fe80::2", 9),
        ] {
            assert_eq!(proxies.proxy_for("http", host, port), None, "{host}");
        }
        for (host, port) in [("notcorp.example", 443), ("hub.example", 443), ("::1", 81), ("mylocalhost", 1)]
        {
            assert_eq!(proxies.proxy_for("http", host, port), Some("p"), "{host}");
        }
        let none = Proxies::new(Some("s".into()), None, Some("*"));
        assert_eq!(none.proxy_for("https", "huggingface.co", 443), None);
    }
}
