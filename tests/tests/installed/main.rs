//! The product as a cluster gets it: the Helm chart and the kustomize manifests, judged by Helm and by a real
//! Kubernetes API server, and the programs run exactly as these say. No kubelet runs, so nothing waits for pods.

mod chart;
mod cluster;
mod container;
mod kiams_chart;
mod kustomize;
mod metrics_tls;
mod programs;
mod release;
mod rights;
mod settings;
mod startup_taint;
