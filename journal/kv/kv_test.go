package kv

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestMonth(t *testing.T) {
	rome := time.FixedZone("Rome", 3600)
	tests := []struct {
		at                    time.Time
		month, previous, next Month
	}{
		{time.Date(2026, 11, 21, 17, 0, 0, 0, time.UTC), "2026-11", "2026-10", "2026-12"},
		{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), "2026-01", "2025-12", "2026-02"},
		{time.Date(2026, 1, 1, 0, 30, 0, 0, rome), "2025-12", "2025-11", "2026-01"},
		{time.Date(2026, 12, 31, 23, 59, 59, 999999999, time.UTC), "2026-12", "2026-11", "2027-01"},
	}
	for _, test := range tests {
		m := MonthOf(test.at)
		if m != test.month || m.Previous() != test.previous || m.Next() != test.next {
			t.Errorf("month of %v is %s, between %s and %s, want %s, between %s and %s",
				test.at, m, m.Previous(), m.Next(), test.month, test.previous, test.next)
		}
		if start := m.Start(); start.After(test.at) || !m.Next().Start().After(test.at) || MonthOf(start) != m {
			t.Errorf("month %s begins at %v, which does not hold %v", m, start, test.at)
		}
	}
}

func TestKindOf(t *testing.T) {
	tests := []struct {
		err  error
		want Kind
	}{
		{ErrUnavailable, Retryable}, {ErrFenced, Retryable}, {context.Canceled, Retryable}, {context.DeadlineExceeded, Retryable},
		{ErrUnknown, Unknown}, {errors.Join(ErrUnavailable, ErrUnknown), Unknown}, {errors.Join(context.Canceled, ErrUnknown), Unknown},
		{ErrNotFound, Permanent}, {ErrNoVolume, Permanent}, {ErrTooLarge, Permanent}, {ErrClosed, Permanent}, {errors.New("other"), Permanent},
	}
	for _, test := range tests {
		if got := KindOf(fmt.Errorf("wrapped: %w", test.err)); got != test.want {
			t.Errorf("%v is of kind %d, want %d", test.err, got, test.want)
		}
	}
}

func TestParseMonth(t *testing.T) {
	for _, s := range []string{"2026-11", "0001-01", "9999-12"} {
		if m, err := ParseMonth(s); err != nil || string(m) != s {
			t.Errorf("ParseMonth(%q) = %q, %v", s, m, err)
		}
	}
	for _, s := range []string{
		"", "2026", "2026-00", "2026-13", "2026-1", "26-11", " 2026-11", "2026-11-01", "2026-11.dropped", "2026/11", "-026-11",
	} {
		if m, err := ParseMonth(s); err == nil {
			t.Errorf("ParseMonth(%q) = %q, want it refused", s, m)
		}
	}
}
