package pec

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
)

// FuzzWindow reads documents with a window fitted to their size and with the largest one: the results are equal.
func FuzzWindow(f *testing.F) {
	const document = `<?xml version="1.0" encoding="ISO-8859-15"?><postacert tipo="accettazione"><intestazione><mittente>a@alpha.test</mittente>` +
		"<destinatari>b@beta.test</destinatari><oggetto>100 \xa4\xa4\xa4</intestazione><dati><identificativo>1@alpha.test</identificativo></dati></postacert>"
	f.Add([]byte(document), "iso-8859-15")
	f.Add([]byte(document[:len(document)-len("/dati></postacert>")]), "")
	f.Add([]byte("<"), "gbk")
	f.Add([]byte("\xff\xfe<\x00p\x00o\x00s\x00t\x00a\x00c\x00e\x00r\x00t\x00>\x00\x00\xd8\x00\xd8"), "")
	f.Fuzz(func(t *testing.T, document []byte, charset string) {
		own, ownErr := parseCertification(bytes.NewReader(document), int64(len(document)), charset)
		largest, err := parseCertification(bytes.NewReader(document), maxDaticert, charset)
		if !reflect.DeepEqual(own, largest) || fmt.Sprint(ownErr) != fmt.Sprint(err) {
			t.Errorf("own window: %+v, %v\nlargest: %+v, %v", own, ownErr, largest, err)
		}
	})
}
