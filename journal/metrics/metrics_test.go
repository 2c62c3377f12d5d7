package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// text returns the answer to a scrape.
func text(t *testing.T, r *Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestText(t *testing.T) {
	var r Registry
	r.Counter("mail_total", "Mail seen.", "outcome", "delivered").Add(2)
	r.Counter("mail_total", "Mail seen.", "outcome", "de\"ferred").Inc()
	r.Gauge("open", "Open connections.").Set(-3)
	r.GaugeFunc("ratio", "A ratio.", func() float64 { return 0.5 })
	r.GaugeFunc("ratio", "A ratio.", func() float64 { return 2 })
	h := r.Histogram("wait_seconds", "Wait.", "hop", "a")
	h.Observe(100 * time.Microsecond)
	h.Observe(150 * time.Microsecond)
	h.Observe(time.Hour)
	got := text(t, &r)
	for _, want := range []string{
		"# HELP mail_total Mail seen.\n# TYPE mail_total counter\n",
		`mail_total{outcome="de\"ferred"} 1` + "\n" + `mail_total{outcome="delivered"} 2` + "\n",
		"# TYPE open gauge\nopen -3\n",
		"ratio 0.5\n",
		`wait_seconds_bucket{hop="a",le="0.0001"} 1` + "\n" + `wait_seconds_bucket{hop="a",le="0.0002"} 2` + "\n",
		`wait_seconds_bucket{hop="a",le="52.4288"} 2` + "\n",
		`wait_seconds_bucket{hop="a",le="+Inf"} 3` + "\n" + `wait_seconds_sum{hop="a"} 3600.00025` + "\n" + `wait_seconds_count{hop="a"} 3` + "\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in:\n%s", want, got)
		}
	}
}

func TestOneSeriesForAName(t *testing.T) {
	var r Registry
	r.Counter("mail_total", "Mail seen.", "outcome", "delivered").Inc()
	r.Counter("mail_total", "Mail seen.", "outcome", "delivered").Inc()
	if n := r.Counter("mail_total", "Mail seen.", "outcome", "delivered").Value(); n != 2 {
		t.Errorf("%d counted", n)
	}
	defer func() {
		if recover() == nil {
			t.Error("a name of two kinds did not panic")
		}
	}()
	r.Gauge("mail_total", "Mail seen.", "outcome", "delivered")
}

func TestProcess(t *testing.T) {
	var r Registry
	r.Process()
	got := text(t, &r)
	for _, want := range []string{"\nprocess_resident_memory_bytes ", "\nprocess_open_fds ", "\ngo_goroutines "} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q", want)
		}
	}
}

func TestEmpty(t *testing.T) {
	if got := text(t, new(Registry)); got != "" {
		t.Errorf("an empty registry gives %q", got)
	}
}
