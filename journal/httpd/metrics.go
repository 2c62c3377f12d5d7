package httpd

import (
	"context"
	"io"
	"net/http"

	"copialettere/journal/metrics"
)

// Metrics returns what a monitoring system may see. /metrics is in the Prometheus text format. /healthz says that the process answers. /readyz has
// the status 503, and a line for each reason that ready returns, while mail to enabled mailboxes would wait. ready may be nil.
func Metrics(r *metrics.Registry, ready func(context.Context) []string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", r.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		var reasons []string
		if ready != nil {
			reasons = ready(r.Context())
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if len(reasons) == 0 {
			io.WriteString(w, "ready\n")
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		for _, reason := range reasons {
			io.WriteString(w, "not ready: "+reason+"\n")
		}
	})
	return mux
}
