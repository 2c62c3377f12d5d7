package pull

import (
	"testing"
	"time"

	"copialettere/policy/source"
)

// TestNext says when a profile runs by itself.
func TestNext(t *testing.T) {
	made := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	start := made.AddDate(0, 0, 3)
	end := start.Add(10 * time.Minute)
	for _, test := range []struct {
		name     string
		last     *source.Run
		failures int
		every    time.Duration
		want     time.Time
	}{
		{"never ran", nil, 0, 24 * time.Hour, made},
		{"went through", &source.Run{Start: start, End: end}, 0, 24 * time.Hour, start.Add(24 * time.Hour)},
		{"failed once", &source.Run{Start: start, End: end}, 1, 24 * time.Hour, end.Add(time.Hour)},
		{"failed three times", &source.Run{Start: start, End: end}, 3, 24 * time.Hour, end.Add(4 * time.Hour)},
		{"fails for long", &source.Run{Start: start, End: end}, 900, 24 * time.Hour, start.Add(24 * time.Hour)},
		{"fails, each hour", &source.Run{Start: start, End: end}, 1, time.Hour, start.Add(time.Hour)},
		{"password refused, each hour", &source.Run{Start: start, End: end, Cause: "login"}, 3, time.Hour, end.Add(4 * time.Hour)},
		{"password refused for long", &source.Run{Start: start, End: end, Cause: "login"}, 900, time.Hour, end.Add(24 * time.Hour)},
		{"password refused, each week", &source.Run{Start: start, End: end, Cause: "login"}, 1, 7 * 24 * time.Hour, end.Add(time.Hour)},
	} {
		if got := next(&source.Profile{Made: made, Every: test.every, Last: test.last, Failures: test.failures}); !got.Equal(test.want) {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// TestTimes reads how often, and after how many days.
func TestTimes(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "1d": 24 * time.Hour, "6h": 6 * time.Hour, "7d": 7 * 24 * time.Hour} {
		if got, err := parseEvery(text); err != nil || got != want || text != "" && everyText(got) != text {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for text, want := range map[string]int{"0": 0, "0d": 0, "30d": 30} {
		if got, err := ParseDays(text); err != nil || *got != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, bad := range []string{"30", "-1d", "d", "1w", "99999d"} {
		if got, err := ParseDays(bad); err == nil {
			t.Errorf("%q: %d", bad, *got)
		}
	}
	for _, bad := range []string{"1m", "0d", "-1h", "d", "1"} {
		if got, err := parseEvery(bad); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}
