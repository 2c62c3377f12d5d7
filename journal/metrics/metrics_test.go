package metrics

import (
	"strings"
	"testing"
	"time"
)

func TestText(t *testing.T) {
	var r Registry
	r.Counter("mail_total", "Mail seen.", "outcome", "delivered").Add(2)
	r.Counter("mail_total", "Mail seen.", "outcome", "de\"ferred").Inc()
	r.Gauge("open", "Open connections.").Set(-3)
	r.GaugeFunc("ratio", "A ratio.", func() float64 { return 0.5 })
	h := r.Histogram("wait_seconds", "Wait.")
	h.Observe(100 * time.Microsecond)
	h.Observe(150 * time.Microsecond)
	h.Observe(time.Hour)

	var b strings.Builder
	n, err := r.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo = %d, %v; wrote %d bytes", n, err, b.Len())
	}
	for _, want := range []string{
		"# HELP mail_total Mail seen.\n# TYPE mail_total counter\n",
		`mail_total{outcome="de\"ferred"} 1` + "\n" + `mail_total{outcome="delivered"} 2` + "\n",
		"# TYPE open gauge\nopen -3\n",
		"ratio 0.5\n",
		`wait_seconds_bucket{le="0.0001"} 1` + "\n" + `wait_seconds_bucket{le="0.0002"} 2` + "\n",
		`wait_seconds_bucket{le="+Inf"} 3` + "\nwait_seconds_sum 3600.00025\nwait_seconds_count 3\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("missing %q in:\n%s", want, b.String())
		}
	}
}

func TestQuantile(t *testing.T) {
	var h Histogram
	if got := h.Quantile(0.99); got != 0 {
		t.Errorf("empty: %v", got)
	}
	for range 99 {
		h.Observe(90 * time.Microsecond)
	}
	h.Observe(time.Second)
	if got := h.Quantile(0.5); got != 100*time.Microsecond {
		t.Errorf("median %v", got)
	}
	if got := h.Quantile(1); got < time.Second || got > 2*time.Second {
		t.Errorf("maximum %v", got)
	}
}
