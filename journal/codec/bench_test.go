package codec

import (
	"testing"
)

// BenchmarkCodec measures values against frames of the bytes as they are.
func BenchmarkCodec(b *testing.B) {
	c := newCodec(b)
	for _, test := range []struct {
		name  string
		chunk []byte
	}{
		{"text", prose(4 << 10)},
		{"picture", join(partHead, lines(noise(45<<10), 76))},
		{"XML", join(partHead, lines(prose(45<<10), 76))},
		{"signature", join(partHead, lines(noise(4<<10), 76))},
	} {
		plain := c.compressor.EncodeAll(test.chunk, nil)
		value := c.Encode(test.chunk, nil)
		for name, run := range map[string]func(){
			"encode/plain": func() { c.compressor.EncodeAll(test.chunk, plain[:0]) },
			"encode/value": func() { c.Encode(test.chunk, nil) },
		} {
			b.Run(test.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(test.chunk)))
				for b.Loop() {
					run()
				}
				b.ReportMetric(float64(len(plain))/float64(len(test.chunk)), "plain")
				b.ReportMetric(float64(len(value))/float64(len(test.chunk)), "ratio")
			})
		}
		buf := make([]byte, 0, 2*len(test.chunk))
		for name, run := range map[string]func() error{
			"decode/plain": func() error { _, err := c.decompressor.DecodeAll(plain, buf); return err },
			"decode/value": func() error { _, err := c.Decode(value, buf, nil); return err },
		} {
			b.Run(test.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(test.chunk)))
				for b.Loop() {
					if err := run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
