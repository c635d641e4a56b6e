//! The frame of every HTML page: document, styles, colours, tables, and numbers that can be compared with the JSON.
//!
//! A page is one file. It asks no network for anything and runs no script, which its Content-Security-Policy makes sure of
//! even where something in it were not escaped; and it carries its report as JSON. What a page says is not here, nor
//! are the charts ([`super::chart`]).

use super::number;
use std::fmt::Write as _;

/// A colour by its role, so that a series looks the same in every chart of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// The colour of the text: totals, single lines.
    Ink,
    /// What was asked for or attempted, and other background.
    Grey,
    /// First of the colours without a meaning.
    Blue,
    /// What went well.
    Green,
    /// Second of the colours without a meaning.
    Purple,
    /// What failed.
    Red,
    /// Third of the colours without a meaning.
    Amber,
}

impl Colour {
    /// All of them.
    pub const ALL: [Colour; 7] = [Self::Ink, Self::Grey, Self::Blue, Self::Green, Self::Purple, Self::Red, Self::Amber];

    /// Its class in SVG and HTML.
    pub fn class(self) -> &'static str {
        match self {
            Self::Ink => "ink",
            Self::Grey => "grey",
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Purple => "purple",
            Self::Red => "red",
            Self::Amber => "amber",
        }
    }

    /// On light and on dark ground. The hues are Okabe and Ito's, which colour-blind people tell apart, made darker or
    /// lighter until text in them can be read (a test has the contrast).
    pub fn shades(self) -> [&'static str; 2] {
        match self {
            Self::Ink => ["#1b1f24", "#e8eaed"],
            Self::Grey => ["#626a73", "#9aa3ad"],
            Self::Blue => ["#0068a8", "#56b4e9"],
            Self::Green => ["#007a58", "#2fc99a"],
            Self::Purple => ["#9c3f78", "#e08fc0"],
            Self::Red => ["#b84300", "#ff8a4c"],
            Self::Amber => ["#7d6000", "#f0c040"],
        }
    }
}

/// The ground of the page, light and dark.
const GROUND: [&str; 2] = ["#ffffff", "#14171a"];

/// Text as HTML and as the value of a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Other control characters cannot be written in HTML at all; this is the sign for what could not be shown.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A whole page. `body` is HTML, `title` is text, `json` the report as JSON; it stands in the element `#report`.
pub fn document(title: &str, body: &str, json: &str) -> String {
    let title = escape(title);
    let styles = styles();
    // In JSON a `<` can only stand in a string, and there it can be written like this: so no `</script>` ends the element.
    let json = json.replace('<', "\\u003c");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{styles}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <footer>handfast {version}. Every figure of this report is in the page as JSON too, in the element \
         <code>#report</code>.</footer>\n\
         <script type=\"application/json\" id=\"report\">{json}</script>\n</body>\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// A part of the page with a heading. `body` is HTML, `heading` is text.
pub fn section(id: &str, heading: &str, body: &str) -> String {
    let (id, heading) = (escape(id), escape(heading));
    format!(
        "<section id=\"{id}\" aria-labelledby=\"{id}-heading\">\n<h2 id=\"{id}-heading\">{heading}</h2>\n{body}</section>\n"
    )
}

/// A picture under its caption. `picture` is HTML, `caption` is text.
pub fn figure(caption: &str, picture: &str) -> String {
    format!("<figure>\n<figcaption>{}</figcaption>\n{picture}</figure>\n", escape(caption))
}

/// A paragraph of text.
pub fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

/// One cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Text, at the left.
    Text(String),
    /// Text, and below it a remark.
    Noted(String, String),
    /// HTML of a number, at the right; see [`count`] and [`measure`].
    Number(String),
}

impl Cell {
    /// Text that is escaped later.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn html(&self) -> (&'static str, String) {
        match self {
            Self::Text(text) => ("", escape(text)),
            Self::Noted(text, note) => ("", format!("{}<span class=\"note\">{}</span>", escape(text), escape(note))),
            Self::Number(html) => (" class=\"n\"", html.clone()),
        }
    }
}

/// A table; the first cell of each row is its heading. Without `head`, it has no heading row.
pub fn table(head: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut html = String::from("<div class=\"scroll\"><table>\n");
    if !head.is_empty() {
        html.push_str("<thead><tr>");
        for (i, name) in head.iter().enumerate() {
            let number = rows.first().and_then(|row| row.get(i)).is_some_and(|cell| matches!(cell, Cell::Number(_)));
            let class = if number { " class=\"n\"" } else { "" };
            let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", escape(name));
        }
        html.push_str("</tr></thead>\n");
    }
    html.push_str("<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let (class, cell) = cell.html();
            let (tag, scope) = if i == 0 { ("th", " scope=\"row\"") } else { ("td", "") };
            let _ = write!(html, "<{tag}{scope}{class}>{cell}</{tag}>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
    html
}

/// A count that stands in the JSON at `pointer`. The exact value is in the attribute `value`, for whoever compares.
pub fn count(pointer: &str, value: u64) -> String {
    data(pointer, &value.to_string(), &super::text::grouped(value))
}

/// A measured value that stands in the JSON at `pointer`, shown with `decimals`; with its exact value like [`count`].
pub fn measure(pointer: &str, value: f64, decimals: usize) -> String {
    data(pointer, &value.to_string(), &number::fixed(value, decimals))
}

fn data(pointer: &str, exact: &str, shown: &str) -> String {
    format!("<data value=\"{exact}\" data-json=\"{}\">{shown}</data>", escape(pointer))
}

/// The style sheet.
fn styles() -> String {
    colours() + SHEET
}

/// The style sheet of a chart that is a file of its own: without what decides between the sizes of a chart in a page.
pub(super) fn picture_styles() -> String {
    let of_charts = SHEET.lines().filter(|rule| rule.starts_with("svg text") || rule.starts_with("svg ."));
    let mut css =
        colours() + "svg{background:var(--ground);font-family:system-ui,'Segoe UI',Roboto,Arial,sans-serif}\n";
    for rule in of_charts {
        let _ = writeln!(css, "{rule}");
    }
    css
}

/// The colours on light and on dark ground.
fn colours() -> String {
    let variables = |shade: usize| {
        let mut text = format!("--ground:{};", GROUND[shade]);
        for colour in Colour::ALL {
            let _ = write!(text, "--{}:{};", colour.class(), colour.shades()[shade]);
        }
        text
    };
    let mut css = format!(
        ":root{{{}--line:#d5d9de;--soft:#f3f5f7}}\n\
         @media screen and (prefers-color-scheme:dark){{:root{{{}--line:#363c43;--soft:#1f2429}}}}\n",
        variables(0),
        variables(1)
    );
    for colour in Colour::ALL {
        let _ = writeln!(css, ".{0}{{--c:var(--{0})}}", colour.class());
    }
    css
}

/// What does not depend on the colours. A chart is drawn twice, for wide and for narrow screens, and one of the two is
/// shown: scaled down, the wide one could not be read on a phone.
const SHEET: &str = "\
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,'Segoe UI',Roboto,'Liberation Sans',Arial,sans-serif;
 -webkit-text-size-adjust:100%}
main,footer{max-width:944px;margin:0 auto;padding:0 32px}
header{padding:36px 0 4px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:19px;line-height:1.3;margin:40px 0 10px}
p{margin:0 0 10px;max-width:72ch;overflow-wrap:anywhere}
.under{color:var(--grey);margin:0}
.verdict{margin:20px 0 0;padding:12px 16px;border-left:5px solid var(--c);background:var(--soft)}
.verdict strong{display:block;font-size:19px;line-height:1.35;color:var(--c)}
.verdict p{margin:2px 0 0}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(310px,1fr));column-gap:56px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:15px;margin:0 0 14px}
th,td{padding:5px 14px 5px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);font-weight:400}
th:last-child,td:last-child{padding-right:0}
td{overflow-wrap:anywhere}
thead th{color:var(--grey);font-size:13px;vertical-align:bottom}
th.n:first-child{width:1%}
.note{display:block;color:var(--grey);font-size:.9em}
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
figure{margin:0 0 22px}
figcaption{font-size:14px;color:var(--grey);margin:0 0 4px;max-width:88ch}
svg{display:block;width:100%;height:auto}
svg.wide{max-width:880px}
svg.narrow{max-width:480px;display:none}
svg text{fill:var(--ink);font-size:13px;font-variant-numeric:tabular-nums}
svg .soft{fill:var(--grey)}
svg .name{fill:var(--c);font-weight:600}
svg .grid{stroke:var(--line);stroke-width:1}
svg .faint{stroke-opacity:.45}
svg .base{stroke:var(--grey);stroke-width:1}
svg .stroke{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .thin{fill:none;stroke:var(--c);stroke-width:1}
svg .dashed{stroke-dasharray:5 4}
svg .area{fill:var(--c);fill-opacity:.16}
svg .fill{fill:var(--c)}
svg .edge{fill:none;stroke:var(--ground);stroke-width:4.5}
svg .whisker{fill:none;stroke:var(--ink);stroke-width:1.5}
footer{color:var(--grey);font-size:13px;padding-top:28px;padding-bottom:36px}
code{font:0.94em ui-monospace,'Liberation Mono',Menlo,Consolas,monospace}
@media (max-width:700px){
 main,footer{padding-left:16px;padding-right:16px}
 header{padding-top:20px}
 h1{font-size:22px}
 .columns{grid-template-columns:minmax(0,1fr)}
 table{font-size:13.5px}
 thead th{font-size:12px}
 th,td{padding-right:8px}
 svg.wide{display:none}
 svg.narrow{display:block}
}
@media print{
 body{font-size:11pt}
 main,footer{max-width:none;padding:0}
 figure,table,.verdict,h2+*{break-inside:avoid}
 h2{break-after:avoid}
 svg.wide{display:block}
 svg.narrow{display:none}
 .verdict,svg{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_html_would_take_for_its_own_is_escaped() {
        assert_eq!(
            escape("<a href=\"x\">&amp; 'y'</a>"),
            "&lt;a href=&quot;x&quot;&gt;&amp;amp; &#39;y&#39;&lt;/a&gt;"
        );
        assert_eq!(escape("10 µs\n\u{0}\u{1b}[1m"), "10 µs\n\u{fffd}\u{fffd}[1m");
        assert_eq!(escape(""), "");
    }

    #[test]
    fn the_embedded_json_cannot_end_its_element_and_stays_the_same_json() {
        let json = serde_json::to_string("</script><!-- <script>").unwrap();
        let page = document("a </title> b", "", &json);
        assert!(page.contains("<title>a &lt;/title&gt; b</title>"), "{page}");
        assert_eq!(page.matches("</script").count(), 1, "{page}");
        let (_, embedded) = page.split_once("id=\"report\">").unwrap();
        let (embedded, _) = embedded.split_once("</script>").unwrap();
        assert!(!embedded.contains('<'));
        assert_eq!(serde_json::from_str::<String>(embedded).unwrap(), "</script><!-- <script>");
    }

    #[test]
    fn cells_are_escaped_and_numbers_carry_their_exact_value() {
        let row = vec![Cell::text("<b>"), Cell::Number(count("/a", 1_234)), Cell::Number(measure("/b", 2.345, 1))];
        let html = table(&["name", "a", "b"], &[row]);
        assert!(html.contains("<th scope=\"row\">&lt;b&gt;</th>"), "{html}");
        assert!(html.contains("<th scope=\"col\" class=\"n\">a</th>"), "{html}");
        assert!(html.contains("<data value=\"1234\" data-json=\"/a\">1,234</data>"), "{html}");
        assert!(html.contains("<data value=\"2.345\" data-json=\"/b\">2.3</data>"), "{html}");
        assert!(!table(&[], &[]).contains("<thead>"));
    }

    /// Relative luminance as WCAG 2 defines it.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn text_in_every_colour_can_be_read_on_light_and_on_dark_ground() {
        for colour in Colour::ALL {
            for (shade, ground) in colour.shades().iter().zip(GROUND) {
                let (a, b) = (luminance(shade), luminance(ground));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 4.5, "{colour:?} {shade} on {ground}: {contrast:.2}");
            }
        }
    }
}
