package config

import "time"

// Exports is how long, and how many, ZIPs the daemon keeps that it has written in the background.
type Exports struct {
	// Keep is how long a ZIP stays after it was written.
	Keep time.Duration
	// MaxSize is what all of them may take together, in bytes.
	MaxSize int64
}

func (t *table) exports() Exports {
	return Exports{Keep: t.duration("keep", 7*day, day, 90*day), MaxSize: t.size("max_size", 20e9, 100e6, 1e15)}
}
