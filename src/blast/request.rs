//! The request of `--request`: escapes understood, and what HTTP asks for completed.

use crate::service::MAX_REQUEST_BYTES;
use std::net::SocketAddr;

/// The bytes that `text` stands for. `GET /` becomes a whole HTTP/1.1 request with a Host field; a text that has fields, or an
/// end, of its own keeps them.
///
/// # Errors
///
/// What is wrong with it.
pub fn complete(text: &str, target: SocketAddr) -> Result<Vec<u8>, String> {
    let text = unescape(text)?;
    let (line, rest) =
        text.split_once('\n').map_or((text.as_str(), ""), |(line, rest)| (line.trim_end_matches('\r'), rest));
    let words: Vec<&str> = line.split(' ').collect();
    let version = match words[..] {
        [method, path] if is_request(method, path) => " HTTP/1.1",
        [method, path, version] if is_request(method, path) && version.starts_with("HTTP/1.") => "",
        _ => {
            return Err(format!(
                "`{line}` is no request line of HTTP/1; write it like GET / or GET /index.html HTTP/1.1"
            ));
        }
    };
    if words[0] == "HEAD" {
        return Err("HEAD has an answer without the body that its length is of; use GET".to_owned());
    }
    let has_end = rest.split_inclusive('\n').any(|line| line.trim_end_matches(['\r', '\n']).is_empty());
    let has_host = rest.lines().any(|line| line.to_ascii_lowercase().starts_with("host:"));
    let host = if has_host || has_end { String::new() } else { format!("Host: {target}\r\n") };
    let end = match (has_end, rest.is_empty() || rest.ends_with('\n')) {
        (true, _) => "",
        (false, true) => "\r\n",
        (false, false) => "\r\n\r\n",
    };
    let bytes = format!("{line}{version}\r\n{host}{rest}{end}").into_bytes();
    if bytes.len() > MAX_REQUEST_BYTES {
        return Err(format!("is {} bytes long, at most {MAX_REQUEST_BYTES}", bytes.len()));
    }
    Ok(bytes)
}

fn is_request(method: &str, path: &str) -> bool {
    !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase()) && !path.is_empty()
}

/// `\r`, `\n`, `\t` and `\\`, as a shell leaves them in a quoted argument.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('r') => '\r',
            Some('n') => '\n',
            Some('t') => '\t',
            Some('\\') => '\\',
            other => {
                let other = other.map_or_else(|| "its end".to_owned(), |c| format!("`{c}`"));
                return Err(format!("has a backslash before {other}; \\r, \\n, \\t and \\\\ are understood"));
            }
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &str) -> Result<String, String> {
        complete(request, "198.18.0.1:80".parse().unwrap()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_short_request_is_completed() {
        let whole = "GET / HTTP/1.1\r\nHost: 198.18.0.1:80\r\n\r\n";
        for short in ["GET /", "GET / HTTP/1.1", "GET / HTTP/1.1\\r\\n", "GET /\n"] {
            assert_eq!(text(short).as_deref(), Ok(whole), "{short:?}");
        }
        assert_eq!(text("GET / HTTP/1.0\\r\\nHost: x\\r\\n").as_deref(), Ok("GET / HTTP/1.0\r\nHost: x\r\n\r\n"));
        assert_eq!(text("GET /\\r\\nA: b").as_deref(), Ok("GET / HTTP/1.1\r\nHost: 198.18.0.1:80\r\nA: b\r\n\r\n"));
    }

    #[test]
    fn a_whole_request_stays_as_it_is() {
        for whole in ["GET / HTTP/1.0\r\n\r\n", "POST /x HTTP/1.1\r\nHost: y\r\nContent-Length: 2\r\n\r\nok"] {
            assert_eq!(text(whole).as_deref(), Ok(whole));
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for bad in ["", "hello", "get /", "GET", "GET / FTP/1", "HEAD /", "GET /\\x", "GET /\\"] {
            assert!(text(bad).is_err(), "{bad:?}");
        }
        assert!(text(&format!("GET /{}", "x".repeat(MAX_REQUEST_BYTES))).unwrap_err().contains("at most"));
    }
}
