import java.util.ArrayList;
import java.util.List;

/** A batch job that meets its OutOfMemoryError, gives up what it held, and ends well. */
public class Report {
    public static void main(String[] arguments) {
        List<byte[]> rows = new ArrayList<>();
        try {
            while (true) {
                rows.add(new byte[1 << 16]);
            }
        } catch (OutOfMemoryError full) {
            rows = null;
            System.out.println("given up: " + full.getMessage());
        }
    }
}
