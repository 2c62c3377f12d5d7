package config

import (
	"reflect"
	"testing"
)

func TestPostfix(t *testing.T) {
	const received, sent = "copialettere-received:unix:private/copialettere", "copialettere_sent"
	for _, c := range []struct {
		name, text string
		want       *Postfix
		warnings   int
	}{
		{"no section", "", nil, 0},
		{"an empty one", "[postfix]\n", &Postfix{Received: received, Sent: sent}, 0},
		{"a folder", "[postfix]\nmaps = \"/srv/postfix/\"\n", &Postfix{Maps: "/srv/postfix", Received: received, Sent: sent}, 0},
		{"a folder in the data folder", "[postfix]\nmaps = \"postfix\"\n",
			&Postfix{Maps: "/var/lib/copialettere/postfix", Received: received, Sent: sent}, 0},
		{"other right-hand sides", "[postfix]\nreceived = \"hook:[127.0.0.1]:2424\"\nsent = \"FILTER hook:[127.0.0.1]:2525\"\n",
			&Postfix{Received: "hook:[127.0.0.1]:2424", Sent: "FILTER hook:[127.0.0.1]:2525"}, 1},
	} {
		got := mustParse(t, minimal+c.text)
		if !reflect.DeepEqual(got.Postfix, c.want) || len(got.Warnings) != c.warnings {
			t.Errorf("%s: %+v with warnings %v, want %+v", c.name, got.Postfix, got.Warnings, c.want)
		}
	}
}
