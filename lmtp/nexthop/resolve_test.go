package nexthop

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/foxcpp/go-mockdns"
)

// TestFailOver: the addresses of a name are tried in turn. Only those in up take connections.
func TestFailOver(t *testing.T) {
	zones := map[string]mockdns.Zone{
		"mail.alpha.test.":       {A: []string{"192.0.2.1", "192.0.2.2"}, AAAA: []string{"2001:db8::1"}},
		"six.alpha.test.":        {AAAA: []string{"2001:db8::6"}},
		"_lmtp._tcp.alpha.test.": {SRV: []net.SRV{srv("second.alpha.test.", 26, 20, 0), srv("first.alpha.test.", 24, 10, 0), srv("gone.alpha.test.", 24, 5, 0)}},
		"first.alpha.test.":      {A: []string{"192.0.2.10", "192.0.2.11"}},
		"second.alpha.test.":     {A: []string{"192.0.2.20"}},
		"_lmtp._tcp.none.test.":  {SRV: []net.SRV{srv(".", 0, 0, 0)}},
		"broken.alpha.test.":     {Err: errors.New("server failure")},
	}
	tests := []struct {
		name, spec string
		up         string
		want       []string // tried
		err        string
	}{
		{"first address", "lmtp:mail.alpha.test:24", "192.0.2.1:24", []string{"192.0.2.1:24"}, ""},
		{"last address", "lmtp:mail.alpha.test:24", "[2001:db8::1]:24", []string{"192.0.2.1:24", "192.0.2.2:24", "[2001:db8::1]:24"}, ""},
		{"AAAA alone", "lmtp:six.alpha.test:24", "[2001:db8::6]:24", []string{"[2001:db8::6]:24"}, ""},
		{"address without a lookup", "lmtp:[2001:db8::7]:24", "[2001:db8::7]:24", []string{"[2001:db8::7]:24"}, ""},
		{"SRV by priority", "lmtp+srv:alpha.test", "192.0.2.20:26", []string{"192.0.2.10:24", "192.0.2.11:24", "192.0.2.20:26"}, ""},
		{"none is up", "lmtp:mail.alpha.test:24", "", []string{"192.0.2.1:24", "192.0.2.2:24", "[2001:db8::1]:24"},
			"connecting to next hop lmtp:mail.alpha.test:24: 192.0.2.1:24: refused; 192.0.2.2:24: refused; [2001:db8::1]:24: refused"},
		{"no such name", "lmtp:nobody.alpha.test:24", "", nil, "looking up nobody.alpha.test: "},
		{"names fail", "lmtp:broken.alpha.test:24", "", nil, "looking up broken.alpha.test: server failure"},
		{"no SRV records", "lmtp+srv:beta.test", "", nil, "looking up the SRV records: "},
		{"SRV says no", "lmtp+srv:none.test", "", nil, "the SRV records offer no LMTP service"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := New(mustSpec(t, tt.spec), Options{Resolver: &mockdns.Resolver{Zones: zones}, HelloName: "hook.test"})
			var tried []string
			h.dial = func(_ context.Context, network, address string) (net.Conn, error) {
				tried = append(tried, address)
				if address != tt.up {
					return nil, errors.New("refused")
				}
				client, _ := play(greetLMTP + announceAll)
				return client, nil
			}
			conn, err := h.Connect(t.Context())
			if !slices.Equal(tried, tt.want) {
				t.Errorf("tried %q, want %q", tried, tt.want)
			}
			if tt.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				conn.Abort()
				return
			}
			var connectErr *ConnectError
			if !errors.As(err, &connectErr) || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want a ConnectError with %q", err, tt.err)
			}
		})
	}
}

func srv(target string, port, priority, weight uint16) net.SRV {
	return net.SRV{Target: target, Port: port, Priority: priority, Weight: weight}
}

// TestOrderSRV draws every number once and counts which record comes first: as often as its weight says.
func TestOrderSRV(t *testing.T) {
	records := []*net.SRV{
		{Target: "late", Priority: 20, Weight: 100},
		{Target: "heavy", Priority: 10, Weight: 60},
		{Target: "light", Priority: 10, Weight: 20},
		{Target: "zero", Priority: 10, Weight: 0},
	}
	first := map[string]int{}
	for n := range 81 {
		calls := 0
		got := orderSRV(records, func(below int) int {
			calls++
			if calls == 1 {
				if below != 81 {
					t.Fatalf("drawn below %d, want below 81", below)
				}
				return n
			}
			return below - 1
		})
		first[got[0].Target]++
		if len(got) != 4 || got[3].Target != "late" {
			t.Fatalf("priority not kept: %v", got)
		}
	}
	if first["heavy"] != 60 || first["light"] != 20 || first["zero"] != 1 {
		t.Errorf("first: %v", first)
	}
	if records[0].Target != "late" {
		t.Error("the caller's slice was changed")
	}
}

// TestConnectShares: two addresses swallow packets. Neither uses up the time of the third.
func TestConnectShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(mustSpec(t, "lmtp:mail.alpha.test:24"), Options{
			Resolver: &mockdns.Resolver{Zones: map[string]mockdns.Zone{
				"mail.alpha.test.": {A: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}},
			}},
			HelloName: "hook.test", Timeouts: Timeouts{Connect: 30 * time.Second},
		})
		h.dial = func(ctx context.Context, _, address string) (net.Conn, error) {
			if address != "192.0.2.3:24" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			client, _ := play(greetLMTP + announceAll)
			return client, nil
		}
		start := time.Now()
		conn, err := h.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Abort()
		if took := time.Since(start); took != 20*time.Second {
			t.Errorf("the third address was reached after %v, want 20 s", took)
		}
	})
}
