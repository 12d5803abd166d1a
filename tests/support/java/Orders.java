import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/**
 * What a service's heap looks like when a cache has eaten it: orders with boxed numbers, maps and strings, request bodies
 * as JSON bytes, some bytes that do not compress (ciphertext, images) and buffers that were never filled. Seeded: one heap
 * size gives one dump, but for addresses. Ends by OutOfMemoryError.
 */
public class Orders {
    static class Order {
        Long id;
        String customer;
        Double total;
        Map<String, Object> attributes = new HashMap<>();
        List<Item> items = new ArrayList<>();
        byte[] request;
    }

    static class Item {
        String article;
        Integer count;
        Double price;
    }

    static final String[] COUNTRIES = {"DE", "FR", "US", "GB", "JP", "BR", "IN", "PL", "SE", "ES"};
    static final String[] STATES = {"created", "paid", "packed", "shipped", "delivered", "returned"};
    static final String[] WORDS = ("please deliver after noon to the neighbour next door and ring twice gift wrap with card invoice by "
        + "mail voucher code applied discount express parcel station fragile return label included thank you for order number "
        + "customer asked call before delivery warehouse partial shipment backorder expected replacement confirmed").split(" ");
    static final Random RANDOM = new Random(42);
    static final List<Object> CACHE = new ArrayList<>();

    public static void main(String[] arguments) {
        System.out.println("ready");
        System.out.flush();
        for (long id = 1; ; id++) {
            CACHE.add(order(id));
            if (id % 16 == 0) {
                byte[] sealed = new byte[1024 + RANDOM.nextInt(3072)];
                RANDOM.nextBytes(sealed);
                CACHE.add(sealed);
            }
            if (id % 64 == 0) {
                CACHE.add(new byte[8192]);
            }
        }
    }

    static Order order(long id) {
        Order order = new Order();
        order.id = id;
        order.customer = "customer-" + RANDOM.nextInt(200_000) + "@example.com";
        order.attributes.put("country", COUNTRIES[RANDOM.nextInt(COUNTRIES.length)]);
        order.attributes.put("state", STATES[RANDOM.nextInt(STATES.length)]);
        order.attributes.put("created", 1_700_000_000_000L + RANDOM.nextInt(1_000_000_000));
        order.attributes.put("session", Long.toHexString(RANDOM.nextLong()));
        int items = 1 + RANDOM.nextInt(6);
        double total = 0;
        for (int i = 0; i < items; i++) {
            Item item = new Item();
            item.article = "SKU-" + RANDOM.nextInt(50_000);
            item.count = 1 + RANDOM.nextInt(9);
            item.price = (100 + RANDOM.nextInt(99_900)) / 100.0;
            total += item.count * item.price;
            order.items.add(item);
        }
        order.total = total;
        order.request = json(order);
        return order;
    }

    static byte[] json(Order order) {
        StringBuilder text = new StringBuilder(4096);
        text.append("{\"id\":").append(order.id).append(",\"customer\":\"").append(order.customer).append("\",\"items\":[");
        for (Item item : order.items) {
            text.append("{\"article\":\"").append(item.article).append("\",\"count\":").append(item.count)
                .append(",\"price\":").append(item.price).append("},");
        }
        text.append("],\"attributes\":").append(order.attributes).append(",\"note\":\"");
        int length = 1024 + RANDOM.nextInt(4096);
        while (text.length() < length) {
            text.append(WORDS[RANDOM.nextInt(WORDS.length)]).append(' ');
            if (RANDOM.nextInt(6) == 0) {
                text.append(RANDOM.nextInt(1_000_000)).append(' ');
            }
        }
        return text.append("\"}").toString().getBytes(StandardCharsets.UTF_8);
    }
}
