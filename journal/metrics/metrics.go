// Package metrics holds the counters, gauges and histograms that the program shows on its admin listener. Ask a Registry for a series by
// name and labels wherever you need it; counting costs one atomic addition. prometheus/client_golang does the exposition. All types may
// be used concurrently.
package metrics

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry is a set of metrics. The zero value is ready for use. Do not copy it after first use.
type Registry struct {
	mu       sync.Mutex
	gatherer *prometheus.Registry // guarded by mu; nil until the first series
	series   map[string]any       // by name and labels; guarded by mu
}

// Counter returns the counter of that name and labels (given as key, value, key, value ...), and creates it on first use. All series of a
// name must have the same kind, help and label keys; otherwise it panics.
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	return lookup(r, name, labels, func() (*Counter, prometheus.Collector) {
		c := new(Counter)
		return c, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: pairs(labels)},
			func() float64 { return float64(c.Value()) })
	})
}

// Gauge returns a gauge, as Counter does a counter.
func (r *Registry) Gauge(name, help string, labels ...string) *Gauge {
	return lookup(r, name, labels, func() (*Gauge, prometheus.Collector) {
		g := new(Gauge)
		return g, newGaugeFunc(name, help, labels, func() float64 { return float64(g.Value()) })
	})
}

// GaugeFunc creates a gauge whose value f returns at each scrape. If the series exists, it changes nothing.
func (r *Registry) GaugeFunc(name, help string, f func() float64, labels ...string) {
	lookup(r, name, labels, func() (prometheus.GaugeFunc, prometheus.Collector) {
		g := newGaugeFunc(name, help, labels, f)
		return g, g
	})
}

func newGaugeFunc(name, help string, labels []string, f func() float64) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: pairs(labels)}, f)
}

// Histogram returns a histogram of durations, in seconds, as Counter does a counter. Its buckets double from 100 microseconds to 52
// seconds.
func (r *Registry) Histogram(name, help string, labels ...string) *Histogram {
	return lookup(r, name, labels, func() (*Histogram, prometheus.Collector) {
		h := &Histogram{prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, ConstLabels: pairs(labels), Buckets: prometheus.ExponentialBuckets(0.0001, 2, 20),
		})}
		return h, h.Histogram
	})
}

// CertificateEnd returns the gauge of when the certificates of a file must have been renewed, in seconds since 1970; 0 for none. file is the key
// of the configuration that names the file.
func (r *Registry) CertificateEnd(file string) *Gauge {
	return r.Gauge("copialettere_certificate_end_seconds",
		"When the next certificate of the file in force ends, or its next revocation list, in seconds since 1970; 0 if there is none.", "file", file)
}

// Process adds the library's metrics of the process (processor time, memory, files) and of the Go runtime. Call it once.
func (r *Registry) Process() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made().MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
}

// Handler serves all metrics in the Prometheus text format, or another one that the client prefers.
func (r *Registry) Handler() http.Handler {
	r.mu.Lock()
	defer r.mu.Unlock()
	return promhttp.HandlerFor(r.made(), promhttp.HandlerOpts{})
}

// made returns the library's registry, created on first use. The caller holds mu.
func (r *Registry) made() *prometheus.Registry {
	if r.gatherer == nil {
		r.gatherer = prometheus.NewRegistry()
		r.series = make(map[string]any)
	}
	return r.gatherer
}

// lookup returns the series of a name and labels, and creates it with create if need be. It panics on a programming error, such as one
// name of two kinds.
func lookup[S any](r *Registry, name string, labels []string, create func() (S, prometheus.Collector)) S {
	var room [256]byte
	key := append(room[:0], name...)
	for _, l := range labels {
		key = append(append(key, 0), l...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	gatherer := r.made()
	if s, ok := r.series[string(key)]; ok {
		return s.(S)
	}
	s, collector := create()
	if err := gatherer.Register(collector); err != nil {
		panic(fmt.Sprintf("metric %s: %v", name, err))
	}
	r.series[string(key)] = s
	return s
}

func pairs(labels []string) prometheus.Labels {
	m := make(prometheus.Labels, len(labels)/2)
	for i := 0; i+1 < len(labels); i += 2 {
		m[labels[i]] = labels[i+1]
	}
	return m
}

// Counter is a number that only grows.
type Counter struct{ n atomic.Int64 }

// Add adds n, which is not negative.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Value returns the count.
func (c *Counter) Value() int64 { return c.n.Load() }

// Gauge is a number that goes up and down.
type Gauge struct{ n atomic.Int64 }

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) { g.n.Add(n) }

// Set sets the value.
func (g *Gauge) Set(n int64) { g.n.Store(n) }

// Value returns the value.
func (g *Gauge) Value() int64 { return g.n.Load() }

// Histogram counts durations in buckets.
type Histogram struct{ prometheus.Histogram }

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) { h.Histogram.Observe(d.Seconds()) }
