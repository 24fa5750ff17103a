//! `ize status --metrics`: the text format of Prometheus, version 0.0.4. `docs/metrics.md` describes each metric.

use std::fmt;

use ize_core::project::Status;

/// A number of one project.
#[derive(Debug)]
struct Sample {
    /// What is between the braces.
    labels: String,
    value: f64,
}

/// Samples of one name, which have to stand together.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    help: &'static str,
    samples: Vec<Sample>,
}

/// The numbers of some projects.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Vec<Metric>);

impl Metrics {
    /// Adds the numbers of a project.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus knows only floating point")]
    pub(crate) fn add(&mut self, status: &Status) {
        let (queue, label) = (&status.queue, format!("project=\"{}\"", escaped(&status.name)));
        let flag = |is: bool| f64::from(u8::from(is));
        let numbers: [(&str, &str, f64); 21] = [
            ("ize_mounted", "Whether the project is mounted.", flag(status.mount_point.is_some())),
            ("ize_poisoned", "Whether changes cannot be recorded any more.", flag(status.poisoned.is_some())),
            ("ize_recorded_operations_total", "Acknowledged operations.", status.recorded.get() as f64),
            ("ize_committed_operations_total", "Operations in history.", status.committed.get() as f64),
            ("ize_pending_operations", "Operations not yet in history.", status.pending_ops as f64),
            ("ize_pending_bytes", "The content of these.", status.pending_bytes as f64),
            ("ize_journal_limit_bytes", "The most that the journal takes.", status.journal_bytes_max as f64),
            ("ize_queue_enqueued_total", "Operations put into the queue.", queue.total_enqueued as f64),
            ("ize_queue_dequeued_total", "Operations committed from the queue.", queue.total_dequeued as f64),
            ("ize_queue_processed_bytes_total", "Bytes committed from it.", queue.total_bytes_processed as f64),
            ("ize_queue_batches_total", "Batches committed from it.", queue.batches as f64),
            ("ize_queue_busy_seconds_total", "Time spent committing.", queue.busy_secs),
            ("ize_queue_operations", "Operations in the queue's memory.", queue.current_size as f64),
            ("ize_queue_operations_peak", "The most there ever were.", queue.peak_size as f64),
            ("ize_queue_operations_limit", "The most there can be.", queue.capacity as f64),
            ("ize_queue_utilization_ratio", "How full its memory is.", queue.queue_utilization()),
            ("ize_queue_spilled_operations", "Operations in the journal only.", queue.spilled as f64),
            ("ize_queue_spilled_total", "Operations that ever were.", queue.total_spilled as f64),
            ("ize_queue_operations_per_second", "Per second of committing.", queue.operations_per_second),
            ("ize_queue_batch_operations_average", "Operations per batch.", queue.average_batch_size),
            ("ize_queue_throughput_megabytes_per_second", "Per second of committing.", queue.throughput_mbps()),
        ];
        for (name, help, value) in numbers {
            self.sample(name, help, label.clone(), value);
        }
        let journal = ("journal", status.journal_bytes);
        for (part, bytes) in status.sizes.iter().map(|size| (size.part.as_str(), size.bytes)).chain([journal]) {
            let labels = format!("{label},part=\"{}\"", escaped(part));
            self.sample("ize_size_bytes", "Bytes on disk.", labels, bytes as f64);
        }
    }

    fn sample(&mut self, name: &'static str, help: &'static str, labels: String, value: f64) {
        let sample = Sample { labels, value };
        match self.0.iter_mut().find(|metric| metric.name == name) {
            Some(metric) => metric.samples.push(sample),
            None => self.0.push(Metric { name, help, samples: vec![sample] }),
        }
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Metric { name, help, samples } in &self.0 {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
            for Sample { labels, value } in samples {
                writeln!(f, "{name}{{{labels}}} {value}")?;
            }
        }
        Ok(())
    }
}

/// Escapes a label's value.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_name_stand_together_and_labels_are_escaped() {
        let mut metrics = Metrics::default();
        for project in ["a", "b\"\\\n"] {
            for name in ["ize_one", "ize_two_total"] {
                metrics.sample(name, "Help.", format!("project=\"{}\"", escaped(project)), 1.5);
            }
        }
        let expected = "\
# HELP ize_one Help.
# TYPE ize_one gauge
ize_one{project=\"a\"} 1.5
ize_one{project=\"b\\\"\\\\\\n\"} 1.5
# HELP ize_two_total Help.
# TYPE ize_two_total counter
ize_two_total{project=\"a\"} 1.5
ize_two_total{project=\"b\\\"\\\\\\n\"} 1.5
";
        assert_eq!(metrics.to_string(), expected);
    }
}
