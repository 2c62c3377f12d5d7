package config

import "testing"

func TestClashes(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"tcp:127.0.0.1:24", "tcp:127.0.0.1:24", true},
		{"tcp:127.0.0.1:24", "tcp:localhost:24", true},
		{"tcp:127.0.0.1:24", "tcp:127.0.0.1:25", false},
		{"tcp:127.0.0.1:24", "tcp:127.0.0.2:24", false},
		{"tcp:127.0.0.1:24", "tcp:0.0.0.0:24", true},
		{"tcp:127.0.0.1:24", "tcp:[::]:24", true},
		{"tcp:[::1]:24", "tcp:[::]:24", true},
		{"tcp:[::1]:24", "tcp:0.0.0.0:24", false},
		{"tcp:[::ffff:127.0.0.1]:24", "tcp:127.0.0.1:24", true},
		{"tcp:0.0.0.0:0", "tcp:0.0.0.0:0", false},
		{"tcp:127.0.0.1:0", "tcp:127.0.0.1:0", false},
		{"unix:a.sock", "unix:/data/a.sock", true},
		{"unix:a.sock", "unix:x/../a.sock", true},
		{"unix:a.sock", "unix:b.sock", false},
		{"systemd:lmtp", "systemd:lmtp", true},
		{"systemd:lmtp", "unix:lmtp", false},
	}
	for _, test := range tests {
		a, f := parseListener(test.a, "/data")
		if f != nil {
			t.Fatal(test.a, f)
		}
		b, f := parseListener(test.b, "/data")
		if f != nil {
			t.Fatal(test.b, f)
		}
		if a.clashes(b) != test.want || b.clashes(a) != test.want {
			t.Errorf("%s and %s: %t, %t, want %t", a, b, a.clashes(b), b.clashes(a), test.want)
		}
	}
}

func TestLoopback(t *testing.T) {
	for s, want := range map[string]bool{
		"tcp:127.0.0.1:24": true, "tcp:127.1.2.3:24": true, "tcp:[::1]:24": true, "tcp:localhost:24": true, "unix:/x": true, "systemd:x": true,
		"tcp:0.0.0.0:24": false, "tcp:[::]:24": false, "tcp:192.0.2.1:24": false, "tcp:[2001:db8::1]:24": false, "tcp:[fe80::1%eth0]:24": false,
	} {
		l, f := parseListener(s, "/data")
		if f != nil {
			t.Fatal(s, f)
		}
		if l.String() != s || l.loopback() != want {
			t.Errorf("%s: loopback %t", l, l.loopback())
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"listen", "next_hop", "max_message_size", "max_recipients", "data", "name", "origin"}
	for name, want := range map[string]string{
		"Listen": "listen", "listens": "listen", "lsiten": "listen", "next-hop": "next_hop", "NextHop": "next_hop", "max_mesage_size": "max_message_size",
		"maxMessageSize": "max_message_size", "max_size": "", "mode": "", "dta": "data", "": "", "orgin": "origin", "tls": "", "nmae": "",
	} {
		if got := nearest(name, known); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
