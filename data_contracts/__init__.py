"""What is handed between stages: records, manifests, the artifact store, the feedback lake, the audit views."""
