//! Manifests of applications, as their teams write them. All carry the labels `app` and `e2e`.

/// What stands in a pod's manifest.
#[derive(Clone, Debug)]
pub struct App<'a> {
    pub name: &'a str,
    pub image: &'a str,
    /// Lines below `metadata.annotations`, `key: value`.
    pub annotations: &'a [&'a str],
    /// JVM arguments and the class, in the brackets of a YAML list.
    pub java: &'a str,
    /// YAML lines of the container besides, e.g. resources or lifecycle; indented as at its first column.
    pub container: &'a str,
    /// YAML lines of the pod's spec besides.
    pub spec: &'a str,
}

impl Default for App<'_> {
    fn default() -> Self {
        Self {
            name: "app",
            image: "jvm-17",
            annotations: &["heapship.io/inject: 'true'"],
            java: "-Xmx48m, -XX:+UseSerialGC, -cp, /app, Leak",
            container: "",
            spec: "",
        }
    }
}

impl App<'_> {
    /// A pod by itself.
    pub fn pod(&self) -> String {
        let template = self.template("");
        format!(
            "apiVersion: v1\nkind: Pod\n{}",
            template.replacen("metadata:\n", &format!("metadata:\n  name: {}\n", self.name), 1)
        )
    }

    /// A Deployment of one.
    pub fn deployment(&self) -> String {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
             template:\n{template}",
            name = self.name,
            template = self.template("    "),
        )
    }

    /// A Job that is not tried again.
    pub fn job(&self) -> String {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  backoffLimit: 0\n  template:\n{template}",
            name = self.name,
            template = self.template("    "),
        )
    }

    fn template(&self, indent: &str) -> String {
        let Self {
            name,
            image,
            annotations,
            java,
            container,
            spec,
        } = self;
        let annotations = indented("    ", &annotations.join("\n"));
        let container = indented("    ", container);
        let spec = indented("  ", spec);
        let text = format!(
            "metadata:
  labels: {{app: {name}, e2e: 'yes'}}
  annotations:
{annotations}spec:
{spec}  containers:
  - name: app
    image: localhost/heapship-test/{image}:1
    command: [/opt/java/bin/java, {java}]
{container}"
        );
        indented(indent, &text)
    }
}

/// Every line with `indent` before it.
pub fn indented(indent: &str, lines: &str) -> String {
    lines.lines().map(|line| [indent, line, "\n"].concat()).collect()
}
